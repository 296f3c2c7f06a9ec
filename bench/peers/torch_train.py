"""PyTorch's side of the training step: forward, cross-entropy on all positions but the first, backward, clipping, AdamW.

Fair: the same decoder with the weights that Alidade starts from, written as one would for speed: fused attention
(scaled_dot_product_attention), F.rms_norm, fused AdamW, gradients set to None, one pass over the whole batch, float32. The
last position is ignored by the loss instead of cut off, which saves a copy. Variant "compile" wraps forward and loss in
torch.compile.
"""

from common import memory_bytes, read_batch, read_job, report, timed

job = read_job()

import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

with open(os.path.join(job["model"], "config.json")) as file:
    config = json.load(file)
width, heads, head_size = config["hidden_size"], config["num_attention_heads"], config["head_dim"]


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (width,), self.weight, config["rms_norm_eps"])


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)  # [batch, time, heads, head_size / 2]
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), dim=-1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        batch, time, _ = x.shape
        shape = (batch, time, heads, head_size)
        query = rotate(self.q_proj(x).view(shape), cosine, sine).transpose(1, 2)
        key = rotate(self.k_proj(x).view(shape), cosine, sine).transpose(1, 2)
        value = self.v_proj(x).view(shape).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, time, width))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        hidden = config["intermediate_size"]
        self.gate_proj, self.up_proj = linear(width, hidden), linear(width, hidden)
        self.down_proj = linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(), Norm()
        self.self_attn, self.mlp = Attention(), Mlp()

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cosine, sine)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Parameters have the names of a Hugging Face checkpoint, without the leading "model."."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], width)
        self.layers = nn.ModuleList(Layer() for _ in range(config["num_hidden_layers"]))
        self.norm = Norm()
        half = head_size // 2
        rates = config["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(config["max_position_embeddings"], dtype=torch.float64)[:, None] * rates
        self.register_buffer("cosine", angles.cos().float()[:, None], persistent=False)  # [time, 1, half]
        self.register_buffer("sine", angles.sin().float()[:, None], persistent=False)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        time = tokens.shape[1]
        cosine, sine = self.cosine[:time], self.sine[:time]
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cosine, sine)
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


model = Decoder()
weights = load_file(os.path.join(job["model"], "model.safetensors"))
model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in weights.items()})
del weights

settings = job["optimiser"]
matrices = [p for p in model.parameters() if p.dim() > 1]
vectors = [p for p in model.parameters() if p.dim() == 1]
optimiser = torch.optim.AdamW(
    [
        {"params": matrices, "weight_decay": settings["weightDecay"]},
        {"params": vectors, "weight_decay": 0},
    ],
    lr=settings["learningRate"],
    betas=(settings["beta1"], settings["beta2"]),
    eps=settings["epsilon"],
    fused=True,
)
tokens = torch.tensor(read_batch(job, "tokens"))
targets = F.pad(tokens[:, 1:], (0, 1), value=-100)
loss_of = torch.compile(model) if job["variant"] == "compile" else model
start_memory = memory_bytes("VmRSS")
losses, norms = [], []


def step() -> None:
    optimiser.zero_grad(set_to_none=True)
    loss = loss_of(tokens, targets)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), settings["clipNorm"])
    optimiser.step()
    losses.append(loss.item())
    norms.append(norm.item())


times = timed(job, step)
report(
    ["torch"],
    timesMs=times,
    parameters=sum(p.numel() for p in model.parameters()),
    startMemoryBytes=start_memory,
    evidence={"losses": losses, "gradientNorms": norms},
)
