"""PyTorch's side of the image model of Flow-GRPO: rollout, updates, whole epoch, flow matching (job["part"]).

Fair: the same transformer (flow_transformer.py) with the weights that Alidade starts from, checked before the clock starts: its
velocities have to be Alidade's within 1e-4. Written as one would for speed: inference mode and prompts that are encoded once in
the rollout, fused attention, fused AdamW, gradients set to None, float32; 128 rows at once, which on the CPU is as fast as any other
number in the rollout and a tenth faster than a whole update. Variant "compile" wraps the velocity of the rollout, and model and
loss of the training, in torch.compile. Variant "lanes" works as Alidade does: micro-batches of 64 rows, as many at the same time as
there are threads, each by one of them; gradients are added up under the lock that autograd has for it.

The first epoch takes noise, window and order from Alidade, so that its samples, losses and gradients can be compared; later epochs
draw their own. Both sides reward an image by the mean of its numbers, which costs nothing.
"""

from common import memory_bytes, read_job, report

job = read_job()

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from flow_transformer import load
from safetensors.torch import load_file
from torch import Tensor, nn

with open(os.path.join(job["model"], "batch.json")) as file:
    batch = json.load(file)
given = load_file(os.path.join(job["model"], "batch.safetensors"))
model = load(job["model"])
LANES = job["threads"] if job["variant"] == "lanes" else 1
MICRO_BATCH = 128 // LANES
# What works on micro-batches: one after the other, or each by a thread whose operators have that thread alone.
over = map if LANES == 1 else ThreadPoolExecutor(LANES, initializer=torch.set_num_threads, initargs=(1,)).map
assert torch.get_num_threads() == job["threads"]  # here: a thread keeps the number that it was told when it first asks


def maybe_compiled(function):
    return torch.compile(function, dynamic=False) if job["variant"] == "compile" else function


velocity = maybe_compiled(model)
settings = batch["settings"]
tables = {model.prompt.embedding.weight, model.prompt.positions.weight, model.prompt.none.weight}
matrices = [p for p in model.parameters() if p.dim() > 1 and p not in tables]
others = [p for p in model.parameters() if p.dim() == 1 or p in tables]
adamw = settings["optimiser"]
optimiser = torch.optim.AdamW(
    [{"params": matrices, "weight_decay": adamw["weightDecay"]}, {"params": others, "weight_decay": 0}],
    lr=adamw["learningRate"],
    betas=(adamw["beta1"], adamw["beta2"]),
    eps=adamw["epsilon"],
    fused=True,
)


def padded(prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Tokens [prompts, time] and a mask that is true at them."""
    most = model.config["prompt"]["promptTokens"]
    tokens = torch.tensor([prompt + [0] * (most - len(prompt)) for prompt in prompts])
    return tokens, torch.arange(most) < torch.tensor([[len(prompt)] for prompt in prompts])


class Prompts:
    """Prompts of rows, equal ones once: `inputs` of the encoder, and which of its vectors belongs to each row."""

    def __init__(self, prompts: list[list[int] | None]) -> None:
        distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts if prompt is not None))
        places = {prompt: place for place, prompt in enumerate(distinct)}
        self.inputs = padded([list(prompt) for prompt in distinct])
        self.rows = torch.tensor([len(distinct) if prompt is None else places[tuple(prompt)] for prompt in prompts])

    def vectors(self) -> Tensor:
        return model.prompt(*self.inputs)[self.rows]


@torch.inference_mode()
def velocity_difference() -> float:
    """Largest difference from Alidade's velocities."""
    vectors = Prompts(batch["checkPrompts"]).vectors()
    return (model(given["checkX"], given["checkT"], vectors) - given["checkVelocity"]).abs().max().item()


difference = velocity_difference()
assert difference < 1e-4, f"velocities differ from Alidade's by {difference}"
start_memory = memory_bytes("VmRSS")
losses, norms = [], []


def step(loss_sum, arrays: tuple[Tensor, ...]) -> None:
    """One optimiser step on the mean over rows of a loss, which `loss_sum` sums over the rows of a micro-batch."""
    count = len(arrays[0])

    def share(part: tuple[Tensor, ...]) -> float:
        loss = loss_sum(*part) / count
        loss.backward()
        return loss.item()

    optimiser.zero_grad(set_to_none=True)
    losses.append(sum(over(share, zip(*(array.split(MICRO_BATCH) for array in arrays)))))
    norms.append(nn.utils.clip_grad_norm_(model.parameters(), adamw["clipNorm"]).item())
    optimiser.step()


def per_row(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


steps, window, images = settings["steps"], settings["window"], len(batch["prompts"])
shape = (images, *model.config["sample"])
times = [1 - index / steps for index in range(steps + 1)]
prompts = Prompts(batch["prompts"])


def coefficients(t: float, after: float) -> tuple[float, float, float]:
    """Factors of x and v in the mean of a CPS step, and its deviation (Flow-CPS, arXiv:2509.05952)."""
    angle = settings["noiseLevel"] * math.pi / 2
    kept = after * math.cos(angle)
    return 1 - after + kept, kept * (1 - t) - (1 - after) * t, after * math.sin(angle)


def trajectories(start: int, x: Tensor, vectors: Tensor, draws: Tensor | None) -> tuple[Tensor, list[tuple]]:
    """x_0 of some rows, and of each step of the window x, x' and log p."""
    kept = []
    for index, (t, after) in enumerate(zip(times, times[1:])):
        v = velocity(x, torch.full((len(x),), t), vectors)
        if start <= index < start + window:
            of_x, of_v, deviation = coefficients(t, after)
            mean = of_x * x + of_v * v
            z = torch.randn_like(x) if draws is None else draws[index - start]
            drawn = mean + deviation * z
            kept.append((x, drawn, -(drawn - mean).square().mean((1, 2, 3))))
            x = drawn
        else:
            x = x - (t - after) * v
    return x, kept


@torch.inference_mode()
def roll_out(start: int, noise: Tensor | None, draws: Tensor | None) -> tuple[Tensor, list[tuple]]:
    """The same of all images."""
    vectors = prompts.vectors()

    @torch.inference_mode()  # holds for one thread
    def share(first: int) -> tuple[Tensor, list[tuple]]:
        rows = slice(first, first + MICRO_BATCH)
        x = torch.randn(MICRO_BATCH, *shape[1:]) if noise is None else noise[rows]
        return trajectories(start, x, vectors[rows], None if draws is None else draws[:, rows])

    parts = list(over(share, range(0, images, MICRO_BATCH)))
    samples = torch.cat([samples for samples, _ in parts])
    kept = [tuple(torch.cat(part) for part in zip(*steps)) for steps in zip(*(steps for _, steps in parts))]
    return samples, kept


def advantages(samples: Tensor) -> Tensor:
    """Rewards less their group's mean over the deviation of all of them, clipped."""
    rewards = samples.mean((1, 2, 3))
    groups = rewards.view(-1, settings["group"])
    centred = (groups - groups.mean(1, keepdim=True)).flatten() / (rewards.std(correction=0) + 1e-4)
    return centred.clamp(-settings["advantageClip"], settings["advantageClip"])


@maybe_compiled
def policy_loss(x: Tensor, drawn: Tensor, old: Tensor, advantage: Tensor, step_numbers: Tensor, rows: Tensor) -> Tensor:
    """Sum over rows of max(-A r, -A clip(r)); step_numbers [row, 3]: t, factors of x and v."""
    t, of_x, of_v = step_numbers.unbind(1)
    v = model(x, t, model.prompt(*prompts.inputs)[rows])
    mean = per_row(of_x) * x + per_row(of_v) * v
    log_prob = -(drawn - mean).square().mean((1, 2, 3))
    ratio = (log_prob - old).exp()
    limited = ratio.clamp(1 - settings["clip"], 1 + settings["clip"])
    return torch.maximum(-advantage * ratio, -advantage * limited).sum()


def update(order: Tensor, start: int, kept: list[tuple], advantage: Tensor) -> None:
    """One optimiser step on the window of some images."""
    numbers = [(t, *coefficients(t, after)[:2]) for t, after in zip(times, times[1:])][start : start + window]
    arrays = (
        *(torch.cat([one[part][order] for one in kept]) for part in range(3)),
        advantage[order].repeat(window),
        torch.tensor(numbers).repeat_interleave(len(order), 0),
        prompts.rows[order].repeat(window),
    )
    step(policy_loss, arrays)


def epoch(number: int) -> dict[str, float]:
    """Seconds of an epoch's halves."""
    began = time.perf_counter()
    if number == 0:
        start, noise, draws = batch["start"], given["noise"], given["draws"]
        orders = torch.tensor(batch["order"])
    else:
        start, noise, draws = int(torch.randint(settings["lastStart"] + 1, ())), None, None
        orders = torch.randperm(images).view(settings["updates"], -1)
    samples, kept = roll_out(start, noise, draws)
    sampled = time.perf_counter()
    if number == 0:
        evidence["sampleDifference"] = (samples - given["samples"]).abs().max().item()
    trained = time.perf_counter()
    advantage = advantages(samples)
    for order in orders:
        update(order, start, kept, advantage)
    ended = time.perf_counter()
    seconds = {"sample": sampled - began, "update": ended - trained}
    return {**seconds, "epoch": seconds["sample"] + seconds["update"]}


matching_prompts = Prompts(batch["matchingPrompts"])


@maybe_compiled
def matching_loss(x: Tensor, t: Tensor, target: Tensor, rows: Tensor) -> Tensor:
    """Sum over rows of the mean square error."""
    v = model(x, t, model.prompt(*matching_prompts.inputs)[rows])
    return (v - target).square().mean((1, 2, 3)).sum()


def matching_step() -> dict[str, float]:
    began = time.perf_counter()
    step(matching_loss, (given["matchingX"], given["matchingT"], given["matchingTarget"], matching_prompts.rows))
    return {"matching": time.perf_counter() - began}


evidence = {"velocityDifference": difference, "losses": losses, "gradientNorms": norms}
runs = range(job["warmUp"] + job["repetitions"])
seconds = [matching_step() if job["part"] == "matching" else epoch(number) for number in runs]
report(
    ["torch"],
    timesMs=[1000 * one[job["part"]] for one in seconds[job["warmUp"] :]],
    parameters=sum(p.numel() for p in model.parameters()),
    startMemoryBytes=start_memory,
    evidence=evidence,
)
