"""TRL's side of a whole GRPO step: GRPOTrainer on the CPU, with the weights and prompts that Alidade starts from.

Fair: one optimiser step a rollout, so neither side computes old log-probabilities; beta 0 (TRL's default), so there is no
reference model; no gradient checkpointing, no bf16, no reports, no files. The end token is held back until the completion is
full, so that every completion has all its tokens. Times are from one optimiser step to the next. TRL decodes each completion
to text, which Alidade's loop here does not: with a tokenizer of 128 words that costs about a millisecond of a step.
"""

from common import memory_bytes, read_batch, read_job, report

job = read_job()

import logging
import tempfile
import time
import warnings

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

words = [f"t{index}" for index in range(128)]
tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="t0"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t126", eos_token="t127")

prompts = read_batch(job, "prompts")
texts = [" ".join(words[token] for token in prompt) for prompt in prompts]
assert tokenizer(texts[:8])["input_ids"] == prompts[:8]
model = LlamaForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
lengths: list[int] = []


def reward(completion_ids: list[list[int]], **_) -> list[float]:
    lengths.extend(len(tokens) for tokens in completion_ids)
    return [(sum(tokens) % 17) / 17 for tokens in completion_ids]


class Clock(TrainerCallback):
    """The end of every step, and what was logged of the first."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.first: dict = {}

    def on_step_end(self, *_, **__) -> None:
        self.ends.append(time.perf_counter())

    def on_log(self, args, state, control, logs=None, **_) -> None:
        self.first = self.first or dict(logs)


settings = job["optimiser"]
rows = job["prompts"] * job["group"]
with tempfile.TemporaryDirectory() as folder:
    clock = Clock()
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": texts}),
        callbacks=[clock],
        args=GRPOConfig(
            output_dir=folder,
            max_steps=job["warmUp"] + job["repetitions"],
            per_device_train_batch_size=rows,
            num_generations=job["group"],
            max_completion_length=job["newTokens"],
            generation_kwargs={"min_new_tokens": job["newTokens"]},
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            beta=0.0,
            loss_type="grpo",
            num_iterations=1,
            learning_rate=settings["learningRate"],
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            adam_beta1=settings["beta1"],
            adam_beta2=settings["beta2"],
            adam_epsilon=settings["epsilon"],
            weight_decay=settings["weightDecay"],
            max_grad_norm=settings["clipNorm"],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            logging_first_step=True,
            logging_steps=10**9,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=1,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    start_memory = memory_bytes("VmRSS")
    trainer.train()

times = [1000 * (end - start) for start, end in zip(clock.ends, clock.ends[1:])]
report(
    ["torch", "transformers", "trl", "accelerate"],
    timesMs=times[job["warmUp"] - 1 :],
    parameters=model.num_parameters(),
    startMemoryBytes=start_memory,
    evidence={
        "entropy": float(clock.first["entropy"]),
        "gradientNorm": float(clock.first["grad_norm"]),
        "completionTokens": sum(lengths) / len(lengths),
    },
)
