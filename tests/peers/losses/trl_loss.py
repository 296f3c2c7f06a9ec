"""TRL's own loss, sampler correction and advantages, each version from its wheel; only the forward pass is replaced."""

import ast
import math
from collections import defaultdict
from contextlib import nullcontext
from types import SimpleNamespace

import torch

from wheels import assigns, between, class_of, field_defaults, functions, run, source, statements, wheel

VERSIONS = ["0.14.0", "0.18.0", "0.22.0", "1.9.0", "1.13.0"]
TRAINER = "trl/trainer/grpo_trainer.py"
METHODS = {
    "0.14.0": ["compute_loss"],
    "0.18.0": ["_compute_loss"],
    "0.22.0": ["_compute_loss"],
    "1.9.0": ["_compute_loss", "get_off_policy_mask", "get_gamma_weights"],
    "1.13.0": ["_compute_loss", "get_off_policy_mask", "get_gamma_weights"],
}
# What reaches the loss; a version that knows the name has a default of its own, read from its GRPOConfig.
SETTINGS = {
    "loss_type": "dapo",
    "beta": 0.0,
    "epsilon": 0.2,
    "epsilon_high": None,
    "delta": None,
    "importance_sampling_level": "token",
    "use_bias_correction_kl": True,
    "sapo_temperature_pos": 1.0,
    "sapo_temperature_neg": 1.05,
    "vespo_k_pos": 2.0,
    "vespo_lambda_pos": 3.0,
    "vespo_k_neg": 3.0,
    "vespo_lambda_neg": 2.0,
    "off_policy_mask_threshold": None,
    "use_vllm": False,
    "vllm_importance_sampling_correction": True,
    "vllm_importance_sampling_mode": "sequence_mask",
    "vllm_importance_sampling_clip_min": None,
    "vllm_importance_sampling_clip_max": 3.0,
    "entropy_coef": 0.0,
}
MAX_COMPLETION_LENGTH = 24


class Doubled:
    """A module whose float32 is float64: TRL 0.14 names float32 where the comparison needs all digits."""

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, "float64" if name == "float32" else name)


class Stub:
    def _prepare_inputs(self, inputs):
        return inputs


def identity(value, *_, **__):
    return value


class Trl:
    def __init__(self, version: str):
        self.version = version
        self.wheel = wheel("trl", version)
        self.text = source(self.wheel, TRAINER)
        nan_aware = ["nanmin", "nanmax", "nanstd"]
        self.names = {
            "torch": torch,
            "math": math,
            "Stub": Stub,
            "PreTrainedModel": torch.nn.Module,
            "is_conversational": lambda _: False,
            "maybe_apply_chat_template": identity,
            "unwrap_model_for_generation": lambda model, _: nullcontext(model),
        }
        parts = functions(source(self.wheel, "trl/trainer/utils.py"), nan_aware) + functions(self.text, nan_aware)
        parts.append(class_of(self.text, "GRPOTrainer", METHODS[version], "Stub"))
        run(ast.Module(parts, []), f"trl-{version}", self.names)

    def config(self, changed: dict) -> dict:
        own = field_defaults(source(self.wheel, "trl/trainer/grpo_config.py"), "GRPOConfig")
        unknown = set(changed) - set(own)
        assert not unknown, f"GRPOConfig of {self.version} has no {unknown}"
        given = {**SETTINGS, **{name: own[name] for name in SETTINGS if name in own}, **changed}
        return {**given, "max_completion_length": MAX_COMPLETION_LENGTH}

    def trainer(self, config: dict, window: dict):
        """A trainer without a constructor: only what the loss reads."""
        trainer = self.names["GRPOTrainer"].__new__(self.names["GRPOTrainer"])
        steps = window["steps_per_generation"]
        trainer.args = SimpleNamespace(**config, steps_per_generation=steps)
        for name in config:
            setattr(trainer, name, config[name])
        trainer.epsilon_low = config["epsilon"]
        trainer.epsilon_high = config["epsilon"] if config["epsilon_high"] is None else config["epsilon_high"]
        trainer.current_gradient_accumulation_steps = window["gradient_accumulation_steps"]
        trainer.accelerator = SimpleNamespace(
            num_processes=window["num_processes"],
            device=torch.device("cpu"),
            gather=identity,
            gather_for_metrics=identity,
            reduce=identity,
            sync_gradients=False,
        )
        trainer.model = SimpleNamespace(training=True)
        trainer._metrics = defaultdict(lambda: defaultdict(list))
        trainer.top_entropy_quantile = 1.0
        trainer.aux_loss_enabled = False
        trainer.use_adaptive_entropy = False
        trainer._entropy_bonus_enabled = config["entropy_coef"] != 0.0
        return trainer

    def loss(self, batch: dict, config: dict, window: dict) -> torch.Tensor:
        """The loss of a padded batch; `batch["logprobs"]` carries the gradient."""
        trainer = self.trainer(config, window)
        shape = batch["mask"].shape
        prompt = torch.ones(shape[0], 1, dtype=torch.long)
        inputs = {
            "prompt_ids": prompt,
            "prompt_mask": prompt,
            "completion_ids": torch.ones(shape, dtype=torch.long),
            "completion_mask": torch.ones(shape, dtype=torch.long),
            "tool_mask": batch["mask"],
            "advantages": batch["advantages"],
            "ref_per_token_logps": batch["reference"],
            "num_items_in_batch": torch.tensor(float(window["num_items_in_batch"])),
        }
        if self.version in ("0.18.0", "0.22.0"):  # no tool mask yet
            inputs["completion_mask"] = inputs.pop("tool_mask")
            inputs["old_per_token_logps"] = batch.get("old")
        elif "old" in batch:
            inputs["old_per_token_logps"] = batch["old"]
        if config["use_vllm"]:
            inputs["sampling_per_token_logps"] = batch["sampler"]
            if config["vllm_importance_sampling_correction"]:
                inputs["importance_sampling_ratio"] = self.sampler_ratio(batch, trainer)
        trainer.ref_model = "reference"
        trainer._get_per_token_logps = lambda model, *_: batch["reference" if model == "reference" else "logprobs"]
        forward = (batch["logprobs"], batch["entropies"], None)
        outputs = 2 if self.version == "0.22.0" else 3
        trainer._get_per_token_logps_and_entropies = lambda *_, **__: forward[:outputs]
        return trainer._compute_loss("policy", inputs)

    def sampler_ratio(self, batch: dict, trainer) -> torch.Tensor:
        """Runs the block of the trainer that forms the sampler's importance ratio."""
        body = statements(self.text, "GRPOTrainer", "_generate_and_score_completions")
        block = next(
            node
            for part in body
            for node in ast.walk(part)
            if isinstance(node, ast.If) and any(assigns(one, "per_token_logps_diff") for one in node.body)
        )
        names = {
            "torch": torch,
            "math": math,
            "self": trainer,
            "completion_mask": torch.ones_like(batch["mask"]),
            "tool_mask": batch["mask"],
            "old_per_token_logps": batch["old"],
            "sampling_per_token_logps": batch["sampler"],
        }
        return run(ast.Module([block], []), f"trl-{self.version}", names)["vllm_importance_sampling_ratio"]

    def advantages(self, table: dict, config: dict) -> torch.Tensor:
        """Runs the block from the weighted sum of the rewards to the advantages of all processes."""
        body = statements(self.text, "GRPOTrainer", METHODS[self.version][0])
        if self.version != "0.14.0":
            body = statements(self.text, "GRPOTrainer", "_generate_and_score_completions")
        first = "unscorable_mask" if self.version in ("1.9.0", "1.13.0") else "rewards"
        rewards = torch.tensor(table["rewards"], dtype=torch.float64)
        trainer = SimpleNamespace(
            **config,
            num_generations=table["group"],
            reward_weights=torch.tensor(table["weights"], dtype=torch.float64),
            reward_funcs=table["weights"],
        )
        names = {
            **self.names,
            "self": trainer,
            "device": "cpu",
            "rewards_per_func": rewards,
            "num_generations": table["group"],
        }

        def last(node):
            if isinstance(node, ast.If):
                return any(assigns(one, "advantages") for one in ast.walk(node))
            return assigns(node, "advantages") and "process_slice" not in ast.unparse(node)

        block = between(body, lambda node: assigns(node, first), last)
        return run(block, f"trl-{self.version}", names)["advantages"]

    def first_loss(self, batch: dict, table: dict, config: dict) -> torch.Tensor:
        """0.14's whole step in one method: generation, rewards, advantages and loss, with the model replaced.

        Sequences end at an end token; the model is one whose softmax gives exactly the log-probabilities asked for.
        """
        lengths = batch["mask"].sum(1)
        count, time = batch["mask"].shape
        other, end = 1, 2
        ids = torch.where(torch.arange(time) == (lengths - 1).unsqueeze(1), end, other)
        alone = {"steps_per_generation": 1, "gradient_accumulation_steps": 1, "num_processes": 1}
        trainer = self.trainer(config, alone)
        trainer._metrics = defaultdict(list)
        trainer.args.use_vllm = False
        trainer.max_prompt_length = None
        trainer.generation_config = None
        trainer.num_generations = table["group"]
        columns = zip(*table["rewards"])
        trainer.reward_funcs = [lambda prompts, completions, column=column: column for column in columns]
        for index, function in enumerate(trainer.reward_funcs):
            function.__name__ = str(index)
        trainer.reward_processing_classes = trainer.reward_funcs
        prompt = {"input_ids": torch.ones(count, 1, dtype=torch.long), "attention_mask": torch.ones(count, 1)}

        class Processing:
            eos_token_id = end
            batch_decode = staticmethod(lambda rows, **_: ["" for _ in rows])

            def __call__(self, *_, **__):
                return prompt

        trainer.processing_class = Processing()
        self.names["torch"] = Doubled(torch)

        class Model:
            def __init__(self, logprobs):
                self.logprobs = logprobs

            def generate(self, **_):
                return torch.cat([prompt["input_ids"], ids], 1)

            def __call__(self, input_ids, num_logits_to_keep):
                rest = torch.log(-torch.expm1(self.logprobs))  # so that the softmax over {other, taken} is exact
                taken = torch.stack([torch.full_like(rest, -math.inf), self.logprobs, rest], -1)
                ended = torch.stack([torch.full_like(rest, -math.inf), rest, self.logprobs], -1)
                logits = torch.where((ids == end).unsqueeze(-1), ended, taken)
                return SimpleNamespace(logits=torch.cat([logits, logits[:, :1]], 1))

        trainer.ref_model = Model(batch["reference"])
        prompts = [{"prompt": ""} for _ in range(count // table["group"])]
        return trainer.compute_loss(Model(batch["logprobs"]), prompts)
