// Writes labels as fast as it can: `label-cache-writer.mjs <file> <engine> <count>`. Tests start several, and kill some.

import { openLabelCache } from "../src/tasks/xiangqi/engines/label-cache.ts";

const [path = "", engine = "", count = ""] = process.argv.slice(2);
const cache = await openLabelCache(path);
// Long ones, so that a kill has a chance to hit the middle of a line.
const moves = Array.from({ length: 400 }, () => "h2e2");
for (let index = 0; index < Number(count); index++) {
  const key = { fen: `position ${index}`, engine, depth: 3, lines: 1 };
  await cache.get(key, async () => ({
    depth: 3,
    lines: [{ move: "h2e2", value: index % 100, moves }],
  }));
}
await cache.close();
