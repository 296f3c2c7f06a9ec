"""Loads checkpoints and adapters that our code wrote into transformers and peft, and compares what they compute.

    npx tsx tests/peers/write-ours.ts /tmp/ours
    .venv/bin/python tests/peers/check-ours.py /tmp/ours
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

TOLERANCE = 1e-4


def load(folder: Path):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    odd = {key: sorted(map(str, names)) for key, names in info.items() if names}
    assert not odd, f"{folder}: {odd}"
    return model


def encode(tokenizer, case) -> list[int]:
    return tokenizer.apply_chat_template(case["messages"], add_generation_prompt=True, return_dict=False)


def check(folder: Path) -> bool:
    adapter = folder / "adapter_config.json"
    base = folder
    if adapter.exists():
        base = Path(json.loads(adapter.read_text())["base_model_name_or_path"])
        model = PeftModel.from_pretrained(load(base), folder)
    else:
        model = load(folder)
    model.eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    automatic = AutoTokenizer.from_pretrained(base)
    end = model.generation_config.eos_token_id
    assert end == tokenizer.eos_token_id, f"{folder}: end token {end}"
    model.generation_config.eos_token_id = None
    worst, prompts_equal, automatic_equal, greedy_equal, gap, count = 0.0, 0, 0, 0, float("inf"), 0
    for case in json.loads((folder / "expected.json").read_text())["cases"]:
        count += 1
        prompts_equal += encode(tokenizer, case) == case["tokens"]
        automatic_equal += encode(automatic, case) == case["tokens"]
        ids = torch.tensor([case["tokens"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=len(case["greedy"]),
                pad_token_id=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        best = torch.stack([step[0].topk(2).values for step in out.logits])
        gap = min(gap, float((best[:, 0] - best[:, 1]).min()))
        worst = max(worst, float((logits - torch.tensor(case["logits"])).abs().max()))
        greedy_equal += out.sequences[0, ids.shape[1] :].tolist() == case["greedy"]
    fine = worst <= TOLERANCE and prompts_equal == greedy_equal == count
    shares = [f"{equal}/{count}" for equal in (greedy_equal, prompts_equal, automatic_equal)]
    cells = [f"`{folder.name}`", f"{worst:.1e}", f"{gap:.3f}", *shares]
    print("| " + " | ".join([*cells, "yes" if fine else "NO"]) + " |")
    return fine


def main() -> int:
    torch.set_num_threads(1)
    folders = sorted(path.parent for path in Path(sys.argv[1]).resolve().glob("*/expected.json"))
    columns = [
        "checkpoint",
        "largest logit difference",
        "smallest gap of the best two",
        "greedy equal",
        "prompts equal",
        "prompts equal, AutoTokenizer",
        "fine",
    ]
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    results = [check(folder) for folder in folders]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
