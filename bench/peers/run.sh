#!/usr/bin/env bash
# Measures Alidade against its peers: bash bench/peers/run.sh [--quick] [--suite NAME]... [--only NAME]... [--rounds N] [--busy]
# Makes what is missing (Python environment, JavaScript peer, build) and leaves it there for the next time.
# ALIDADE_PEERS_VENV names a Python environment to use instead of bench/peers/.venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=bench/peers

venv=${ALIDADE_PEERS_VENV:-$here/.venv}
if [ -z "${ALIDADE_PEERS_VENV:-}" ] && ! cmp -s $here/requirements.txt "$venv/installed.txt"; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r $here/requirements.txt
  cp $here/requirements.txt "$venv/installed.txt"
fi
if [ ! -e node_modules ]; then npm ci; fi
# The JavaScript peer belongs to the decoders.
if [[ " $* " == *" --suite flow "* && " $* " != *" --suite decoder "* ]]; then
  :
elif ! cmp -s $here/package-lock.json $here/node_modules/installed.json; then
  npm ci --prefix $here --ignore-scripts
  cp $here/package-lock.json $here/node_modules/installed.json
fi
node_modules/.bin/tsc -p $here/tsconfig.json

status=0
node $here/.build/js/$here/run.js --python "$venv/bin/python" "$@" || status=$?
for file in $here/RESULTS*.md $here/results*.json; do
  if [ -e "$file" ]; then node_modules/.bin/oxfmt "$file"; fi
done
exit $status
