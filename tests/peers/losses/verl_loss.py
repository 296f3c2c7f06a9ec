"""verl's own policy losses, aggregation, KL and advantages, from its wheel: whole files, with stand-ins for their imports."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from wheels import field_defaults, source, wheel

VERSION = "0.9.1"
# What reaches the loss; defaults are those of ActorConfig, where it knows the name.
SETTINGS = {
    "loss_mode": "vanilla",
    "loss_agg_mode": "token-mean",
    "clip_ratio": 0.2,
    "clip_ratio_low": 0.2,
    "clip_ratio_high": 0.2,
    "clip_ratio_c": 3.0,
    "tau_pos": 1.0,
    "tau_neg": 1.05,
    "use_kl_loss": False,
    "kl_loss_coef": 0.001,
    "kl_loss_type": "low_var_kl",
    "entropy_coeff": 0.0,
    "rollout_is": None,
    "rollout_is_threshold": 2.0,
}


class Config(SimpleNamespace):
    def get(self, name, default=None):
        return getattr(self, name, default)


class Names(ModuleType):
    """A module in which every name exists."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


class Data(dict):
    """Stands for a TensorDict that is padded already."""

    def select(self, *fields):
        return Data({name: self[name] for name in fields})

    def to_padded_tensor(self):
        return self


def stand_in(name: str, **attributes) -> None:
    module = Names(name)
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        if parent not in sys.modules:
            stand_in(parent)
        setattr(sys.modules[parent], child, module)


class Verl:
    def __init__(self):
        self.wheel = wheel("verl", VERSION)
        stand_in("tensordict")
        stand_in("omegaconf")
        stand_in("verl.protocol")
        stand_in("verl.trainer.config")
        stand_in("verl.trainer.config.algorithm")
        stand_in("verl.workers.config", ActorConfig=Config)
        stand_in("verl.workers.config.actor")
        stand_in("verl.workers.utils.padding", no_padding_2_padding=lambda values, _: values)
        stand_in("verl.utils.device", get_device_name=lambda: "cpu")
        stand_in("verl.utils.import_utils", deprecated=lambda _: lambda function: function)
        metric = type("Metric", (), {"__init__": lambda *_, **__: None, "from_dict": lambda *_, **__: {}})
        stand_in("verl.utils.metric", Metric=metric, AggregationType=SimpleNamespace(SUM=0, MEAN=1))
        stand_in("verl.utils.tensordict_utils")
        stand_in("verl.utils.dataset.dataset_utils", DatasetPadMode=SimpleNamespace(NO_PADDING=0))
        self.load("verl.utils.torch_functional")
        groupwise = self.load("verl.utils.groupwise")
        for name in ("as_torch_index", "group_mean_std"):
            setattr(sys.modules["verl.utils"], name, getattr(groupwise, name))
        self.core = self.load("verl.trainer.ppo.core_algos")
        self.correction = self.load("verl.trainer.ppo.rollout_corr_helper")
        self.correction.compute_is_metrics = lambda **_: {}  # only logged; divides by 0 where all weights are 0
        self.losses = self.load("verl.workers.utils.losses")

    def load(self, name: str) -> ModuleType:
        stand_in(name)
        module = ModuleType(name)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, module)
        text = source(self.wheel, name.replace(".", "/") + ".py")
        exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)
        return module

    def config(self, changed: dict) -> dict:
        own = field_defaults(source(self.wheel, "verl/workers/config/actor.py"), "ActorConfig")
        return {**SETTINGS, **{name: own[name] for name in SETTINGS if name in own}, **changed}

    def loss(self, batch: dict, config: dict, window: dict) -> torch.Tensor:
        actor = Config(**config, policy_loss={"loss_mode": config["loss_mode"]}, global_batch_info={})
        actor.loss_scale_factor = window["loss_scale_factor"]
        # The trainer detaches on-policy log-probabilities when there are no old ones.
        old = batch.get("old", batch["logprobs"].detach())
        data = Data(
            dp_size=window["dp_size"],
            batch_num_tokens=window["batch_num_tokens"],
            global_batch_size=window["global_batch_size"],
            response_mask=batch["mask"],
            old_log_probs=old,
            advantages=batch["advantages"].unsqueeze(1) * batch["mask"],
            ref_log_prob=batch["reference"],
        )
        if config["rollout_is"] is not None:
            # verl has no rule for tokens without a sampler log-probability: they are given the trainer's.
            sampler = torch.where(torch.isnan(batch["sampler"]), old, batch["sampler"])
            data["rollout_is_weights"], _ = self.correction.compute_rollout_correction_weights(
                old - sampler, batch["mask"], config["rollout_is"], config["rollout_is_threshold"]
            )
        output = {"log_probs": batch["logprobs"]}
        if config["entropy_coeff"] != 0.0:
            output["entropy"] = batch["entropies"]
        return self.losses.ppo_loss(actor, output, data)[0]

    def advantages(self, table: dict, config: dict) -> torch.Tensor:
        """Advantages [sequence, time] of rewards that stand on each sequence's last token."""
        lengths = torch.tensor(table["lengths"])
        time = int(lengths.max())
        mask = (torch.arange(time) < lengths.unsqueeze(1)).long()
        columns = torch.tensor(table["rewards"], dtype=torch.float64)
        weights = torch.tensor(table["weights"], dtype=torch.float64)
        rewards = torch.zeros(mask.shape)
        rewards[torch.arange(len(lengths)), lengths - 1] = (columns * weights).sum(1)
        extra = {}
        estimator = config["adv_estimator"]
        if estimator == "grpo":
            extra["norm_adv_by_std_in_grpo"] = config["norm_adv_by_std_in_grpo"]
        if estimator == "remax":
            extra["reward_baselines"] = torch.tensor(table["baselines"], dtype=torch.float64)
        if estimator != "remax" and estimator != "reinforce_plus_plus":
            extra["index"] = np.array(table["prompts"])
        function = self.core.get_adv_estimator_fn(estimator)
        advantages, _ = function(token_level_rewards=rewards, response_mask=mask, config=Config(gamma=1.0), **extra)
        return advantages
