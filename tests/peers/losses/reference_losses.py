"""Losses, gradients and advantages of TRL and verl on random batches, by running their own code, in float64, as JSON.

    python3 -m venv .venv && .venv/bin/pip install -r tests/peers/requirements.txt
    .venv/bin/python tests/peers/losses/reference_losses.py --out /tmp/losses.json
    .venv/bin/python tests/peers/losses/reference_losses.py --batches 12 --keep 2 --digits 9 \\
        --out tests/fixtures/losses.json

The wheels of the versions in trl_loss.py and verl_loss.py are downloaded once, into tests/peers/losses/.wheels (or found
in the folder that ALIDADE_PEERS_WHEELS names); only their files are read, they are not installed. This script reads
nothing of ours. losses.test.ts compares.

The output: `batches` and `rewards` (batches.py), and `configurations`, each with settings in the trainer's own words and
`cases`: the number of the batch, arrays that were withheld, the window (how the batch was cut), loss and gradient
[sequence][time] by log-probability. In the windows' words: those of the trainers.
"""

import argparse
import json
import math
from random import Random

import torch

import batches as draw
import configurations
import trl_loss
import verl_loss
from wheels import digest, wheel

EXTREME = 10


def padded(rows: list[list[float]], dtype=torch.float64) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows], dtype=dtype)


def tensors(batch: dict, absent: list[str]) -> dict:
    made = {key: padded(batch[key]) for key in (*draw.KEYS, "entropies") if key not in absent}
    made["mask"] = padded([[1] * len(row) for row in batch["mask"]] if "mask" in absent else batch["mask"], torch.long)
    made["advantages"] = torch.tensor(batch["advantages"], dtype=torch.float64)
    made["logprobs"].requires_grad_()
    return made


def result(loss: torch.Tensor, made: dict, batch: dict) -> dict:
    if loss.requires_grad:
        loss.backward()
    gradient = made["logprobs"].grad
    gradient = torch.zeros_like(made["logprobs"]) if gradient is None else gradient
    rows = [row[: len(own)] for row, own in zip(gradient.tolist(), batch["logprobs"])]
    return {"loss": loss.item(), "gradient": rows}


def loss_tokens(batch: dict, absent: list[str]) -> int:
    return sum(len(row) if "mask" in absent else sum(row) for row in batch["mask"])


def trl_case(trl, config: dict, number: int, batch: dict) -> dict:
    # Every fifth batch is on-policy: no old log-probabilities, as when generation and step are aligned.
    absent = ["old"] if number % 5 == 4 and not config["use_vllm"] else []
    # 0.18 leaves the division by the accumulated steps to the trainer below it.
    cut = 0 if trl.version == "0.18.0" else number
    window = draw.trl_window(Random(number), cut, loss_tokens(batch, absent))
    made = tensors(batch, absent)
    if trl.version == "1.9.0":  # its correction turns the whole loss into NaN there
        made["sampler"] = torch.where(made["sampler"].isnan(), made.get("old", made["logprobs"]), made["sampler"])
    return {"batch": number, "absent": absent, "window": window, **result(trl.loss(made, config, window), made, batch)}


def first_case(trl, config: dict, number: int, batch: dict) -> dict:
    """0.14 makes mask and advantages inside of its loss: no masked tokens, one group, one reward."""
    made = tensors(batch, ["mask", "old"])
    count = len(batch["advantages"])
    if count == 1:
        return {}
    table = {"group": count, "rewards": [[float(torch.tensor(value).float())] for value in batch["advantages"]]}
    loss = trl.first_loss(made, table, config)
    advantages = trl.advantages({**table, "weights": [1.0]}, {}).tolist()
    absent = ["mask", "old"]
    return {"batch": number, "absent": absent, "window": None, "advantages": advantages, **result(loss, made, batch)}


def verl_case(verl, config: dict, number: int, batch: dict) -> dict:
    absent = ["old"] if number % 5 == 4 and config["rollout_is"] is None else []
    sequences = sum(map(any, batch["mask"]))
    window = draw.verl_window(Random(number), number, loss_tokens(batch, absent), sequences)
    made = tensors(batch, absent)
    return {"batch": number, "absent": absent, "window": window, **result(verl.loss(made, config, window), made, batch)}


def entry(trainer: str, version: str, changed: dict, cases: list[dict]) -> dict:
    name = " ".join([trainer, version, *(f"{key}={value}" for key, value in changed.items())])
    known = [one for one in cases if one]
    return {"name": name, "trainer": trainer, "version": version, "config": changed, "cases": known}


def all_losses(drawn: list[dict], ordinary: int) -> list[dict]:
    found = []
    for version in trl_loss.VERSIONS:
        trl = trl_loss.Trl(version)
        one = first_case if version == "0.14.0" else trl_case
        for changed in configurations.trl(version):
            config = trl.config(changed)
            # A KL term of e^30, not clamped, keeps no digits of its gradient.
            given = drawn if config["beta"] == 0 else drawn[:ordinary]
            cases = [one(trl, config, number, batch) for number, batch in enumerate(given)]
            found.append(entry("trl", version, changed, cases))
    verl = verl_loss.Verl()
    for changed in configurations.verl():
        config = verl.config(changed)
        cases = [verl_case(verl, config, number, batch) for number, batch in enumerate(drawn)]
        found.append(entry("verl", verl_loss.VERSION, changed, cases))
    return found


def all_advantages(tables: list[dict]) -> list[dict]:
    found = []
    for version in trl_loss.VERSIONS:
        trl = trl_loss.Trl(version)
        # Rewards that are None: only from 1.9 are they kept out of the statistics.
        gaps = version in ("1.9.0", "1.13.0")
        for changed in configurations.trl_advantages(version):
            cases = []
            for number, table in enumerate(tables):
                rewards = table["rewardsWithGaps" if gaps else "rewards"]
                weights = [1.0] * len(table["weights"]) if version == "0.14.0" else table["weights"]
                given = {**table, "rewards": rewards, "weights": weights}
                cases.append({"table": number, "advantages": trl.advantages(given, changed).tolist()})
            found.append(entry("trl", version, changed, cases))
    verl = verl_loss.Verl()
    for changed in configurations.verl_advantages():
        cases = []
        for number, table in enumerate(tables):
            rows = verl.advantages(table, changed).tolist()
            ragged = [row[:length] for row, length in zip(rows, table["lengths"])]
            cases.append({"table": number, "advantages": ragged})
        found.append(entry("verl", verl_loss.VERSION, changed, cases))
    return found


def thinned(entries: list[dict], keep: int | None) -> list[dict]:
    """Some cases of each configuration, other ones for each."""
    if keep is None:
        return entries
    for index, one in enumerate(entries):
        cases = one["cases"]
        one["cases"] = [cases[(index + step * len(cases) // keep) % len(cases)] for step in range(keep)]
    return entries


def plain(value, digits: int):
    """JSON has no NaN: null."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.{digits}g}")
    if isinstance(value, list):
        return [plain(one, digits) for one in value]
    return {key: plain(one, digits) for key, one in value.items()} if isinstance(value, dict) else value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=int, help="cases of each configuration that are written; default all")
    parser.add_argument("--digits", type=int, default=17)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    random = Random(options.seed)
    # Some more with ratios of e^30: verl clamps them, TRL only here and there.
    extreme = max(1, options.batches // EXTREME)
    drawn = [draw.batch(random) for _ in range(options.batches)] + [draw.batch(random, True) for _ in range(extreme)]
    tables = [draw.rewards(random) for _ in range(options.batches)]
    pinned = [*(("trl", version) for version in trl_loss.VERSIONS), ("verl", verl_loss.VERSION)]
    wheels = [wheel(*one) for one in pinned]
    output = {
        "torch": torch.__version__,
        "seed": options.seed,
        "wheels": {path.name: digest(path) for path in wheels},
        "batches": drawn,
        "rewards": tables,
        "losses": thinned(all_losses(drawn, options.batches), options.keep),
        "advantages": thinned(all_advantages(tables), options.keep),
    }
    with open(options.out, "w") as file:
        json.dump(plain(output, options.digits), file, separators=(",", ":"))
    for kind in ("losses", "advantages"):
        cases = sum(len(one["cases"]) for one in output[kind])
        print(f"{kind}: {len(output[kind])} configurations, {cases} cases")


if __name__ == "__main__":
    main()
