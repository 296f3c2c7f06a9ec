"""The side of transformers in sampling: LlamaForCausalLM.generate with the weights that Alidade starts from.

Fair: no end token is configured, so nothing stops early and no logits processor runs; temperature 1 without top-k and top-p;
scaled_dot_product_attention; inference mode; float32. Variant "dynamic" (the default) or "static" is its kind of cache.
"""

from common import memory_bytes, read_batch, read_job, report, timed

job = read_job()

import torch
from transformers import GenerationConfig, LlamaForCausalLM

model = LlamaForCausalLM.from_pretrained(job["model"], dtype=torch.float32).eval()
every_prompt = torch.tensor(read_batch(job, "prompts"))
prompts = every_prompt[: job["rows"] // job["group"]]
mask = torch.ones_like(prompts)
cache = {} if job["variant"] == "dynamic" else {"cache_implementation": job["variant"]}
sampling = GenerationConfig(
    max_new_tokens=job["newTokens"],
    do_sample=True,
    num_return_sequences=job["group"],
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    pad_token_id=0,
    eos_token_id=None,
    bos_token_id=None,
    **cache,
)
model.generation_config = GenerationConfig(pad_token_id=0)  # nothing else to inherit
start_memory = memory_bytes("VmRSS")


@torch.inference_mode()
def generate() -> None:
    out = model.generate(prompts, attention_mask=mask, generation_config=sampling)
    assert out.shape == (job["rows"], prompts.shape[1] + job["newTokens"])


times = timed(job, generate)
greedy = GenerationConfig(
    max_new_tokens=16,
    do_sample=False,
    pad_token_id=0,
    eos_token_id=None,
    output_logits=True,
    return_dict_in_generate=True,
    **cache,
)
with torch.inference_mode():
    result = model.generate(every_prompt[:4], attention_mask=torch.ones_like(every_prompt[:4]), generation_config=greedy)
log_probs = torch.stack(result.logits, dim=1).log_softmax(-1)  # [prompt, time, vocabulary]
chosen = result.sequences[:, prompts.shape[1] :, None]
report(
    ["torch", "transformers"],
    timesMs=times,
    parameters=model.num_parameters(),
    startMemoryBytes=start_memory,
    evidence={"greedyLogProbs": log_probs.gather(2, chosen).squeeze(2).tolist()},
)
