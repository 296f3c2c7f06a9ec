"""Random batches and reward tables, from a seed. Ragged lists [sequence][time]; NaN where a value is missing."""

import math
from random import Random

DIGITS = 6
KEYS = ("logprobs", "old", "reference", "sampler")


def log_ratio(random: Random) -> float:
    """Mostly small, as in training; some far from 0, some exactly 0."""
    kind = random.random()
    if kind < 0.05:
        return 0.0
    if kind < 0.5:
        return random.gauss(0, 0.12)
    if kind < 0.85:
        return random.gauss(0, 0.5)
    return random.uniform(-3, 3)


def token(random: Random, extreme: bool) -> dict:
    far = extreme and random.random() < 0.15
    new = -random.uniform(0.01, 5)
    old = new - (random.choice([-30, 30]) if far else log_ratio(random))
    reference = new + (random.choice([-30, 30]) if far and random.random() < 0.5 else log_ratio(random))
    sampler = old + random.gauss(0, 0.5 if random.random() < 0.2 else 0.05)
    values = dict(zip(KEYS, (new, old, reference, sampler)))
    above = max(*values.values(), -0.001) + 0.001  # probabilities stay below 1
    values = {key: round(value - above, DIGITS) for key, value in values.items()}
    if random.random() < 0.04:
        values["sampler"] = math.nan
    return values


def masks(random: Random, lengths: list[int]) -> list[list[int]]:
    if random.random() < 0.3:
        return [[1] * length for length in lengths]
    while True:
        drawn = [
            [0] * length if random.random() < 0.12 else [int(random.random() > 0.15) for _ in range(length)]
            for length in lengths
        ]
        if sum(map(sum, drawn)) >= 2 or sum(lengths) < 2:
            return drawn


def batch(random: Random, extreme: bool = False) -> dict:
    lengths = [random.randint(1, 20) for _ in range(random.randint(1, 12))]
    if sum(lengths) == 1:
        lengths = [2]
    tokens = [[token(random, extreme) for _ in range(length)] for length in lengths]
    drawn = {key: [[one[key] for one in row] for row in tokens] for key in KEYS}
    zero = [random.random() < 0.15 for _ in lengths]
    drawn["advantages"] = [0.0 if none else round(random.gauss(0, 1), DIGITS) for none in zero]
    drawn["mask"] = masks(random, lengths)
    drawn["entropies"] = [[round(random.uniform(0, 3), DIGITS) for _ in row] for row in tokens]
    return drawn


def reward(random: Random, kind: str) -> float:
    if kind == "binary":
        return float(random.randint(0, 1))
    return round(random.gauss(0.5, 1), DIGITS) if kind == "real" else 0.25


def rewards(random: Random) -> dict:
    """Rewards [sequence][function] of whole groups for TRL, the same without gaps and with uneven groups for verl."""
    group, prompts, functions = random.randint(2, 6), random.randint(1, 4), random.randint(1, 3)
    count = group * prompts
    gaps = random.random() < 0.6
    kinds = [[random.choice(["binary", "real", "real", "constant"]) for _ in range(functions)] for _ in range(prompts)]
    full = [[reward(random, kind) for kind in kinds[index // group]] for index in range(count)]
    holes = [[math.nan if gaps and random.random() < 0.25 else value for value in row] for row in full]
    plain = random.random() < 0.5
    return {
        "group": group,
        "weights": [1.0 if plain else round(random.uniform(0.1, 2), 3) for _ in range(functions)],
        "rewards": full,
        "rewardsWithGaps": holes,
        "prompts": [random.randint(0, prompts) for _ in range(count)],
        "baselines": [round(random.gauss(0.5, 0.5), DIGITS) for _ in range(count)],
        "lengths": [random.randint(1, 20) for _ in range(count)],
    }


def trl_window(random: Random, number: int, tokens: int) -> dict:
    """Every second batch is a generation batch by itself; the others are a part of one."""
    alone = number % 2 == 0
    processes = 1 if alone else random.choice([1, 2, 4])
    return {
        "gradient_accumulation_steps": 1 if alone else random.choice([1, 2, 4]),
        "steps_per_generation": 1 if alone else random.choice([1, 2, 4, 8]),
        "num_processes": processes,
        "num_items_in_batch": tokens if alone else tokens + random.randint(0, 300),
    }


def verl_window(random: Random, number: int, tokens: int, sequences: int) -> dict:
    if number % 2 == 0:
        return {"dp_size": 1, "batch_num_tokens": None, "global_batch_size": None, "loss_scale_factor": None}
    return {
        "dp_size": random.choice([1, 2, 4]),
        "batch_num_tokens": tokens + random.randint(0, 300),
        "global_batch_size": sequences + random.randint(0, 20),
        "loss_scale_factor": random.choice([20, 512]),
    }
