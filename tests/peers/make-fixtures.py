"""Writes tiny random checkpoints with transformers and peft, and what those compute with them, into tests/fixtures/.

    python3 -m venv .venv && .venv/bin/pip install -r tests/peers/requirements.txt
    .venv/bin/python tests/peers/make-fixtures.py

tests/peers/checkpoints.test.ts holds our engine to these numbers. The files are committed; run this only to change them.
"""

import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
SPECIAL = ["<|begin|>", "<|end|>", "<|stop|>", "<|user|>", "<|assistant|>"]
MERGES = ["l e", "le f", "lef t", "u p", "d o", "do w", "dow n", "r i", "ri g", "rig h", "righ t", "w a", "wa l", "wal l"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CONVERSATIONS = [
    [{"role": "user", "content": "left, up, up"}],
    [{"role": "user", "content": "Where is the wall?"}],
    [
        {"role": "user", "content": "3x3: right or down?"},
        {"role": "assistant", "content": "down"},
        {"role": "user", "content": "and then"},
    ],
]
NEW_TOKENS = 24
# A draw of weights is kept only when no greedy choice is closer than this: then rounding cannot change one.
SMALLEST_GAP = 0.01


def make_tokenizer() -> PreTrainedTokenizerFast:
    characters = ["\n", *(chr(code) for code in range(32, 127))]
    tokens = [*SPECIAL, *characters, *(merge.replace(" ", "") for merge in MERGES)]
    model = models.BPE(
        vocab={token: place for place, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in MERGES],
    )
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        additional_special_tokens=["<|stop|>", "<|user|>", "<|assistant|>"],
    )
    fast.chat_template = TEMPLATE
    return fast


def draw(model: torch.nn.Module, seed: int) -> None:
    """Values at which attention is far from uniform and every norm and bias matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name or parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(1 + 0.3 * noise if "norm" in name else 0.22 * noise)


def prompts_of(tokenizer) -> list[list[int]]:
    return [
        tokenizer.apply_chat_template(one, add_generation_prompt=True, return_dict=False)
        for one in CONVERSATIONS
    ]


def rounded(values) -> list:
    return [float(f"{value:.8g}") for value in values]


def expected(model, tokenizer) -> tuple[dict, float]:
    """Logits at every prompt position, greedy continuations, and the smallest gap between the best two logits."""
    model.eval()
    model.generation_config.eos_token_id = None
    cases, gaps = [], []
    for messages, tokens in zip(CONVERSATIONS, prompts_of(tokenizer), strict=True):
        ids = torch.tensor([tokens])
        with torch.no_grad():
            logits = model(ids).logits[0]
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                pad_token_id=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        for step in out.logits:
            best = step[0].topk(2).values
            gaps.append(float(best[0] - best[1]))
        greedy = out.sequences[0, len(tokens) :].tolist()
        assert len(greedy) == NEW_TOKENS
        cases.append(
            {
                "messages": messages,
                "tokens": tokens,
                "logits": [rounded(row) for row in logits.tolist()],
                "greedy": greedy,
                "text": tokenizer.decode(greedy, skip_special_tokens=False),
            }
        )
    return {"cases": cases}, min(gaps)


def write_expected(folder: Path, result: dict) -> None:
    (folder / "expected.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")


def load(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def write_model(name: str, config, tokenizer, *, dtype=torch.float32, stop=None, **saving) -> None:
    folder = FIXTURES / name
    for seed in range(1000):
        shutil.rmtree(folder, ignore_errors=True)
        model = AutoModelForCausalLM.from_config(config).to(torch.float32)
        draw(model, seed)
        model.generation_config.eos_token_id = stop or tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.to(dtype).save_pretrained(folder, **saving)
        tokenizer.save_pretrained(folder)
        result, gap = expected(load(folder), tokenizer)
        if gap >= SMALLEST_GAP:
            break
    else:
        raise RuntimeError(f"{name}: no draw with a gap of {SMALLEST_GAP}")
    write_expected(folder, result)
    print(name, "seed", seed, "gap", round(gap, 4), sorted(path.name for path in folder.iterdir()))


def write_adapter(name: str, base: str, tokenizer, **lora) -> None:
    folder = FIXTURES / name
    for seed in range(1000):
        shutil.rmtree(folder, ignore_errors=True)
        model = get_peft_model(load(FIXTURES / base), LoraConfig(task_type="CAUSAL_LM", **lora))
        draw(model, 5000 + seed)  # only LoRA matrices require a gradient
        result, gap = expected(model, tokenizer)
        if gap >= SMALLEST_GAP:
            break
    else:
        raise RuntimeError(f"{name}: no draw with a gap of {SMALLEST_GAP}")
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    write_expected(folder, result)
    print(name, "seed", seed, "gap", round(gap, 4), sorted(path.name for path in folder.iterdir()))


# The pre-tokenizer of the published Qwen2, Qwen3 and DeepSeek-R1-Distill-Qwen models.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "",
    " ",
    "left, up; it's DOWN'S right",
    "3x3 = 9, 1234567890",
    "  two spaces\n\n\ttab \r\n end  ",
    "naïve café cafe\u0301 Å A\u030a",
    "左に二歩、上へ 🧭🗺️ مرحبا",
    "<|im_start|>user\nWhere?<|im_end|>\n<think>\nup</think>",
    "<|im_start|><|im_end|> <|im_start| > <think",
    "\u0000\u0007\ufeff\u200b",
]


def write_byte_level(name: str) -> None:
    """A tokenizer of the kind that Qwen models publish, trained on a few lines, with its encodings of odd texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    lines = [*TEXTS, "go left, then right, then up to the right wall; down is where it's left", "左 右 上 下 左に"]
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in ("<think>", "</think>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = TEMPLATE.replace("{{ bos_token }}", "")
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    fast.save_pretrained(folder)
    cases = []
    for text in TEXTS:
        tokens = fast.encode(text, add_special_tokens=False)
        cases.append({"text": text, "tokens": tokens, "decoded": fast.decode(tokens, skip_special_tokens=False)})
    write_expected(folder, {"cases": cases})
    print(name, len(fast), "tokens")


def main() -> None:
    write_byte_level("byte-level")
    torch.set_num_threads(1)
    tokenizer = make_tokenizer()
    small = {"num_hidden_layers": 2, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 1}
    # The table is padded beyond the tokenizer, as in the published Qwen models.
    write_model(
        "qwen2",
        Qwen2Config(
            vocab_size=128,
            hidden_size=64,
            intermediate_size=96,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_theta=1_000_000.0,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
            **small,
        ),
        tokenizer,
    )
    write_model(
        "qwen3",
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=48,
            intermediate_size=80,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            rope_theta=10_000.0,
            rms_norm_eps=1e-6,
            tie_word_embeddings=False,
            **small,
        ),
        tokenizer,
    )
    write_model(
        "llama",
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=112,
            num_attention_heads=2,
            num_key_value_heads=1,
            rope_theta=500_000.0,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            **small,
        ),
        tokenizer,
        dtype=torch.bfloat16,
        stop=[1, 2],
        max_shard_size="60KB",
    )
    write_adapter(
        "qwen2-lora", "qwen2", tokenizer, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]
    )
    write_adapter(
        "qwen3-rslora",
        "qwen3",
        tokenizer,
        r=4,
        lora_alpha=6,
        use_rslora=True,
        target_modules="all-linear",
        rank_pattern={"mlp.up_proj": 2},
        alpha_pattern={"layers.1.self_attn.q_proj": 3},
    )


if __name__ == "__main__":
    main()
