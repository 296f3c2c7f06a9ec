"""The flow transformer of src/models/flow-transformer.ts and its prompt encoder, written in PyTorch.

Sizes come from flow.json, weights from model.safetensors: both as Alidade saves a velocity model. Query, key and value are one
matrix, as is usual; `load` joins the three of the file. Attention is scaled_dot_product_attention, norms are F.rms_norm.
"""

import json
import math
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

EPSILON = 1e-6
LEAST_TIME = 0.05


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], weight, EPSILON)


class Scale(nn.Module):
    """RMSNorm with a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight)


class Table(nn.Module):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, width))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, bias: bool, gated: bool = False) -> None:
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(width, hidden, bias), nn.Linear(hidden, width, bias)
        self.gate_proj = nn.Linear(width, hidden, bias) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        return self.down_proj(quick_gelu(up) if self.gate_proj is None else F.silu(self.gate_proj(x)) * up)


class Projections(nn.Module):
    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.qkv, self.o_proj = nn.Linear(width, 3 * width, bias), nn.Linear(width, width, bias)


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = Scale(width), Scale(width)
        self.attention, self.mlp = Projections(width, True), Mlp(width, hidden, True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        prompts, time, width = x.shape
        qkv = self.attention.qkv(self.attention_norm(x)).view(prompts, time, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [prompts, heads, time, head size]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        x = x + self.attention.o_proj(mixed.transpose(1, 2).reshape(prompts, time, width))
        return x + self.mlp(self.mlp_norm(x))


class PromptEncoder(nn.Module):
    """tokens [prompts, time], mask [prompts, time] (true at a token) to [prompts + 1, size]; the last row is "no prompt"."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        width, self.words = config["width"], config.get("words", False)
        self.neighbours = config.get("neighbours", 0)
        self.embedding = Table(config["vocabularySize"], width)
        self.positions = Table(config["promptTokens"], width)
        self.context = nn.Linear((2 * self.neighbours + 1) * width, width) if self.neighbours > 0 else None
        self.layers = nn.ModuleList(
            EncoderLayer(width, config["heads"], config["hiddenWidth"]) for _ in range(config["layers"])
        )
        self.norm = Scale(width)
        self.none = Table(1, width * (1 + config["promptTokens"] if self.words else 1))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        time = tokens.shape[1]
        x = F.embedding(tokens, self.embedding.weight) + self.positions.weight
        if self.context is not None:
            wide = F.pad(x * mask[:, :, None], (0, 0, self.neighbours, self.neighbours))
            x = x + self.context(torch.cat([wide[:, at : at + time] for at in range(2 * self.neighbours + 1)], 2))
        for layer in self.layers:
            x = layer(x, mask)
        x = self.norm(x) * mask[:, :, None]  # [prompts, time, width]
        mean = x.sum(1) / mask.sum(1, keepdim=True)
        vectors = torch.cat((mean, x.flatten(1)), 1) if self.words else mean
        return torch.cat((vectors, self.none.weight))


class ImageAttention(Projections):
    def __init__(self, width: int, heads: int, word_width: int | None) -> None:
        super().__init__(width, False)
        self.heads = heads
        self.q_norm, self.k_norm = Scale(width // heads), Scale(width // heads)
        self.word_kv = None if word_width is None else nn.Linear(word_width, 2 * width, False)

    def forward(self, x: Tensor, words: Tensor | None) -> Tensor:
        batch, tokens, width = x.shape
        query, key, value = self.qkv(x).view(batch, tokens, 3, self.heads, -1).unbind(2)
        query, key = self.q_norm(query), self.k_norm(key)  # [batch, tokens, heads, head size]
        if words is not None:
            word_key, word_value = self.word_kv(words).view(batch, -1, 2, self.heads, key.shape[-1]).unbind(2)
            key, value = torch.cat((key, self.k_norm(word_key)), 1), torch.cat((value, word_value), 1)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        width, prompt = config["width"], config["prompt"]
        self.modulation = nn.Linear(width, 6 * width)
        self.attention = ImageAttention(width, config["heads"], prompt["width"] if prompt.get("words") else None)
        self.mlp = Mlp(width, config["hiddenWidth"], False, config["activation"] == "swiglu")

    def forward(self, h: Tensor, c: Tensor, words: Tensor | None) -> Tensor:
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = self.modulation(c)[:, None].chunk(6, -1)
        h = h + gate * self.attention(rms_norm(h) * (1 + scale) + shift, words)
        return h + mlp_gate * self.mlp(rms_norm(h) * (1 + mlp_scale) + mlp_shift)


class Head(nn.Linear):
    def __init__(self, width: int, pixels: int) -> None:
        super().__init__(width, pixels)
        self.modulation = nn.Linear(width, 2 * width)


def sinusoids(places: Tensor, half: int) -> Tensor:
    angles = places[:, None] * 10_000 ** (-torch.arange(half, dtype=torch.float64) / half)
    return torch.cat((angles.cos(), angles.sin()), 1)


class FlowTransformer(nn.Module):
    """Velocity [batch, height, width, channels] of x at t [batch] under the prompt vectors of the encoder [batch, size]."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        width = config["width"]
        height, columns, channels = config["sample"]
        self.config, self.size = config, config["patch"]
        self.grid = (height // self.size, columns // self.size)
        pixels = self.size * self.size * channels
        self.half = 2 ** round(math.log2(width)) // 2
        self.prompt = PromptEncoder(config["prompt"])
        self.prompt_vector = nn.Linear(config["prompt"]["width"], width)
        self.patches = nn.Linear(pixels, width)
        self.time = nn.ModuleDict({"up": nn.Linear(2 * self.half, width), "down": nn.Linear(width, width)})
        self.blocks = nn.ModuleList(Block(config) for _ in range(config["layers"]))
        self.head = Head(width, pixels)
        rates = 1000 * 10_000 ** (-torch.arange(self.half, dtype=torch.float64) / self.half)
        self.register_buffer("rates", rates.float(), persistent=False)
        rows, columns = (torch.arange(extent, dtype=torch.float64) for extent in self.grid)
        of_row, of_column = sinusoids(rows, width // 4), sinusoids(columns, width // 4)
        places = torch.cat(
            (of_row[:, None].expand(-1, len(columns), -1), of_column[None].expand(len(rows), -1, -1)), -1
        )
        self.register_buffer("positions", places.flatten(0, 1).float(), persistent=False)  # [tokens, width]

    def forward(self, x: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        batch, (rows, columns), size = len(x), self.grid, self.size
        width = self.config["prompt"]["width"]
        words = prompt[:, width:].view(batch, -1, width) if prompt.shape[1] > width else None
        angles = t[:, None] * self.rates
        time = F.silu(self.time["up"](torch.cat((angles.cos(), angles.sin()), 1)))
        c = F.silu(self.time["down"](time) + self.prompt_vector(prompt[:, :width]))
        cut = x.view(batch, rows, size, columns, size, -1).transpose(2, 3).reshape(batch, rows * columns, -1)
        h = self.patches(cut) + self.positions
        for block in self.blocks:
            h = block(h, c, words)
        shift, scale = self.head.modulation(c)[:, None].chunk(2, -1)
        out = self.head(rms_norm(h) * (1 + scale) + shift)
        out = out.view(batch, rows, columns, size, size, -1).transpose(2, 3).reshape(x.shape)
        if self.config["predicts"] == "velocity":
            return out
        return (x - out) / t.clamp(min=LEAST_TIME)[:, None, None, None]


def join(weights: dict[str, Tensor], parts: list[str], whole: str) -> None:
    """Replaces the projections `parts` of every layer by one, row after row."""
    for name in [name for name in weights if f".{parts[0]}." in name]:
        names = [name.replace(parts[0], part) for part in parts]
        weights[name.replace(parts[0], whole)] = torch.cat([weights.pop(part) for part in names])


def load(folder: str) -> FlowTransformer:
    with open(os.path.join(folder, "flow.json")) as file:
        model = FlowTransformer(json.load(file))
    weights = load_file(os.path.join(folder, "model.safetensors"))
    join(weights, ["q_proj", "k_proj", "v_proj"], "qkv")
    join(weights, ["word_k_proj", "word_v_proj"], "word_kv")
    model.load_state_dict(weights)
    return model
