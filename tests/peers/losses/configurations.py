"""The trainer settings that are compared, in the trainers' own words: what differs from their defaults."""

LOSS_TYPES = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo"]
SEQUENCE = {"importance_sampling_level": "sequence"}
OLDER = {"use_bias_correction_kl": False}
MODES = ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


def vllm(mode: str, low=None, high=3.0) -> dict:
    clip = {"vllm_importance_sampling_clip_min": low, "vllm_importance_sampling_clip_max": high}
    return {"use_vllm": True, "vllm_importance_sampling_mode": mode, **clip}


def newest() -> list[dict]:
    found = [{}, {"use_vllm": True}]
    for loss in LOSS_TYPES:
        for level in ["token"] if loss == "vespo" else ["token", "sequence"]:
            ratio = {"loss_type": loss, "importance_sampling_level": level}
            found.append(ratio)
            found.append({**ratio, "beta": 0.04})
            found.append({**ratio, "beta": 0.04, **OLDER})
    for loss in ["grpo", "dapo"]:
        for mode in MODES:
            found.append({"loss_type": loss, **vllm(mode)})
            found.append({"loss_type": loss, **vllm(mode, 0.9, 1.2)})
        found.append({"loss_type": loss, "delta": 1.1})
        found.append({"loss_type": loss, "delta": 1.5, "epsilon": 0.1, "epsilon_high": 0.28})
        found.append({"loss_type": loss, "off_policy_mask_threshold": 0.05})
        found.append({"loss_type": loss, "off_policy_mask_threshold": 0.05, **vllm("token_truncate")})
    found.append({"loss_type": "dapo", "epsilon_high": 0.28})
    found.append({"loss_type": "grpo", "epsilon": 3e-4, "epsilon_high": 4e-4, **SEQUENCE})
    found.append({"loss_type": "grpo", "delta": 1.1, **SEQUENCE})
    found.append({"loss_type": "cispo", "epsilon_high": 5.0})
    found.append({"loss_type": "cispo", "epsilon_high": 5.0, **vllm("sequence_mask")})
    found.append({"loss_type": "sapo", "sapo_temperature_pos": 2.0, "sapo_temperature_neg": 3.0})
    found.append({"loss_type": "sapo", "off_policy_mask_threshold": 0.05})
    found.append({"loss_type": "vespo", "off_policy_mask_threshold": 0.05})
    found.append({"loss_type": "vespo", **vllm("token_truncate")})
    found.append({"loss_type": "vespo", **vllm("token_mask", 0.9, 1.2)})
    shape = {"vespo_k_pos": 1.5, "vespo_lambda_pos": 1.0, "vespo_k_neg": 1.0, "vespo_lambda_neg": 0.5}
    found.append({"loss_type": "vespo", **shape})
    found.append({"loss_type": "luspo", **SEQUENCE, **vllm("token_truncate")})
    found.append({"loss_type": "grpo", "entropy_coef": 0.01})
    found.append({"loss_type": "dapo", "entropy_coef": 0.01})
    everything = {"delta": 1.5, "epsilon_high": 0.28, "beta": 0.04, "off_policy_mask_threshold": 0.1}
    found.append({"loss_type": "dapo", **everything, **vllm("sequence_truncate")})
    found.append({"loss_type": "grpo", **everything, **SEQUENCE, **vllm("token_mask", 0.5), "entropy_coef": 0.01})
    return found


def trl(version: str) -> list[dict]:
    if version == "0.14.0":
        return [{}, {"beta": 0.0}]
    if version == "0.18.0":
        kinds = [{"loss_type": loss, "beta": beta} for loss in LOSS_TYPES[:3] for beta in (0.04, 0.0)]
        return [{}, *kinds, {"delta": 1.1}, {"epsilon": 0.1, "epsilon_high": 0.28}]
    if version == "0.22.0":
        kinds = [{"loss_type": loss, "beta": beta} for loss in LOSS_TYPES[:4] for beta in (0.0, 0.04)]
        return [{}, *kinds, {"loss_type": "grpo", "delta": 1.1}, {"loss_type": "grpo", **SEQUENCE}]
    if version == "1.9.0":
        # luspo only with one loss a sequence: with one a token this version averages over padding too.
        kinds = [{"loss_type": loss, "beta": beta} for loss in LOSS_TYPES[:7] for beta in (0.0, 0.04)]
        kinds += [{"loss_type": loss, **SEQUENCE} for loss in ("luspo", "grpo")]
        kinds += [{"loss_type": loss, "entropy_coef": 0.01} for loss in ("grpo", "dapo")]
        return [{}, {"use_vllm": True}, *kinds, *({"loss_type": "dapo", **vllm(mode)} for mode in MODES)]
    return newest()


def trl_advantages(version: str) -> list[dict]:
    if version == "0.14.0":
        return [{}]
    if version == "0.18.0":
        return [{"scale_rewards": True}, {"scale_rewards": False}]
    scales = [{"scale_rewards": scale} for scale in ("group", "batch", "none")]
    if version == "0.22.0":
        return scales
    return [
        *({**scale, "multi_objective_aggregation": "sum_then_normalize"} for scale in scales),
        {"scale_rewards": "group", "multi_objective_aggregation": "normalize_then_sum"},
    ]


AGGREGATIONS = ["token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-sum-norm", "seq-mean-token-mean"]


def verl() -> list[dict]:
    found = [{}]
    for mode in AGGREGATIONS:
        found.append({"loss_agg_mode": mode})
        found.append({"loss_agg_mode": mode, "loss_mode": "gspo", "clip_ratio_low": 3e-4, "clip_ratio_high": 4e-4})
        found.append({"loss_agg_mode": mode, "use_kl_loss": True, "kl_loss_coef": 0.04})
    for kind in ["k1", "k2", "k1+", "k3+"]:
        found.append({"use_kl_loss": True, "kl_loss_coef": 0.04, "kl_loss_type": kind})
    found.append({"clip_ratio_c": 1.5})
    found.append({"clip_ratio_low": 0.1, "clip_ratio_high": 0.28, "clip_ratio_c": 10.0})
    found.append({"loss_mode": "gspo"})
    found.append({"loss_mode": "sapo"})
    found.append({"loss_mode": "sapo", "tau_pos": 2.0, "tau_neg": 3.0})
    found.append({"loss_mode": "cispo"})
    found.append({"loss_mode": "cispo", "clip_ratio_low": 1.0, "clip_ratio_high": 4.0})
    found.append({"loss_mode": "gpg"})
    found.append({"entropy_coeff": 0.01})
    for level in ["token", "sequence"]:
        for threshold in [2.0, "0.9_1.2"]:
            found.append({"rollout_is": level, "rollout_is_threshold": threshold})
    found.append({"loss_mode": "gspo", "rollout_is": "token"})
    found.append({"loss_mode": "cispo", "rollout_is": "sequence"})
    return found


def verl_advantages() -> list[dict]:
    others = ["rloo", "remax", "reinforce_plus_plus", "reinforce_plus_plus_baseline"]
    return [
        {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": True},
        {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": False},
        *({"adv_estimator": name} for name in others),
    ]
