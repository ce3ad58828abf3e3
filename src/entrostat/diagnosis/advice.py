"""What to do about a finding, with the setting in the host's own words; both hosts' where the host is not known."""

from __future__ import annotations

from collections.abc import Mapping

HOLD = {
    "trl": "`es.trl.controlled(GRPOTrainer, es.hold('0.75 * initial'))`",
    "verl": "`+entrostat.method.name=hold '+entrostat.method.target=0.75 * initial'`",
}
_ANY = "any"

ADVICE: Mapping[str, Mapping[str, str]] = {
    "E101": {
        _ANY: "Go back to a checkpoint before the fall and hold the entropy from there; or widen the "
        "upper clip range, or lower the "
        "learning rate",
        "trl": f"hold: {HOLD['trl']}; `epsilon_high=0.28`, `learning_rate`",
        "verl": f"hold: {HOLD['verl']}; `actor_rollout_ref.actor.clip_ratio_high=0.28`, `actor_rollout_ref.actor.optim.lr`",
    },
    "E102": {
        _ANY: "Go back to a checkpoint before the rise. Lower the learning rate and the entropy bonus, "
        "take fewer updates per batch, "
        "keep the clip range",
        "trl": "`learning_rate`, `num_iterations=1`, `epsilon=0.2`, `beta=0.001`",
        "verl": "`actor_rollout_ref.actor.optim.lr`, `actor_rollout_ref.actor.entropy_coeff=0`, "
        "`actor_rollout_ref.actor.ppo_epochs=1`, `actor_rollout_ref.actor.use_kl_loss=True`",
    },
    "E103": {
        _ANY: "If a bonus or a wide upper clip range is in use, reduce it; else lower the learning rate. "
        "Or hold the entropy where the "
        "reward was best",
        "trl": f"`epsilon_high`, `learning_rate`; hold: {HOLD['trl']}",
        "verl": "`actor_rollout_ref.actor.entropy_coeff`, `actor_rollout_ref.actor.clip_ratio_high`; hold: "
        + HOLD["verl"],
    },
    "E104": {
        _ANY: "More steps will add little. Let the entropy fall more slowly next time: hold it, or start from a checkpoint with "
        "more of it. The law was found without entropy control (2505.22617) and does not hold under it",
        "trl": f"hold: {HOLD['trl']}",
        "verl": f"hold: {HOLD['verl']}",
    },
    "E105": {
        _ANY: "Lower the gains, above all the integral's, or set a longer settling time; `entrostat tune` finds gains from this "
        "log. Without a controller: lower the learning rate",
        "trl": "`es.hold(target, settling=100)`; `learning_rate`",
        "verl": "`+entrostat.method.settling=100`; `actor_rollout_ref.actor.optim.lr`",
    },
    "E201": {
        _ANY: "Widen the limits, choose a target nearer to the present entropy, or a method with more authority. `entrostat "
        "simulate` tries this out without training",
        "trl": "`es.hold(target, limits=(-4, 4))`",
        "verl": "`+entrostat.method.limits=[-4,4]`",
    },
    "E202": {
        _ANY: "Stop the integral while the output is at its limit (anti-windup). `PI` does so by default; "
        "the method `entropic` does not, as in its authors' code",
        "trl": "`es.entropic(target, anti_windup=True)`, `es.PI(..., anti_windup=True)`",
        "verl": "`+entrostat.method.name=entropic +entrostat.method.anti_windup=True`",
    },
    "E203": {
        _ANY: "Choose a method that acts on more tokens (`flow`, `hold`), or raise the learning rate; "
        "`entrostat methods` lists what "
        "each acts on",
        "trl": HOLD["trl"],
        "verl": HOLD["verl"],
    },
    "E204": {
        _ANY: "Choose a target nearer to where the entropy is, wider limits, or a method with more authority",
        "trl": "`es.hold('0.75 * initial', limits=(-4, 4))`",
        "verl": "`'+entrostat.method.target=0.75 * initial'`, `+entrostat.method.limits=[-4,4]`",
    },
    "E301": {
        _ANY: "Use problems that are solved sometimes: harder or easier ones, more completions per prompt, a warmer sampling "
        "temperature; drop prompts without spread (dynamic sampling)",
        "trl": "`num_generations=16`, `temperature=1.0`, `loss_type='dapo'`",
        "verl": "`actor_rollout_ref.rollout.n=16`, `actor_rollout_ref.rollout.temperature=1.0`, "
        "`algorithm.filter_groups.enable=True`",
    },
    "E302": {
        _ANY: "Stop the run. Read some completions, check the reward function and the answer format, then "
        "go back to a checkpoint with "
        "a reward and a lower learning rate",
        "trl": "`log_completions=True`, `learning_rate`, `max_grad_norm=0.2`",
        "verl": "`trainer.rollout_data_dir=DIR`, `actor_rollout_ref.actor.optim.lr`, `actor_rollout_ref.actor.grad_clip=0.2`",
    },
    "E303": {
        _ANY: "Read some completions: a reward for the format alone, a stop string or a penalty for length teaches the model to "
        "stop at once. Give answers that are too short no reward",
        "trl": "`log_completions=True`, `reward_weights`, `min_p`/`generation_kwargs`",
        "verl": "`trainer.rollout_data_dir=DIR`, `custom_reward_function.path`, `reward_model.overlong_buffer`",
    },
    "E304": {
        _ANY: "Raise the limit, or penalize length near it, and leave truncated completions out of the loss",
        "trl": "`max_completion_length`, `mask_truncated_completions=True`, `loss_type='dr_grpo'`",
        "verl": "`data.max_response_length`, `reward_model.overlong_buffer.enable=True`, "
        "`actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm`",
    },
    "E305": {
        _ANY: "Clip the gradient lower, lower the learning rate, and keep the clip range of the ratio",
        "trl": "`max_grad_norm=0.2`, `learning_rate`, `epsilon=0.2`",
        "verl": "`actor_rollout_ref.actor.grad_clip=0.2`, `actor_rollout_ref.actor.optim.lr`, "
        "`actor_rollout_ref.actor.clip_ratio=0.2`",
    },
    "E401": {
        _ANY: "Judge by a mean over many steps, or take more prompts per step. `entrostat tune` finds gains for this noise",
        "trl": "`per_device_train_batch_size`, `gradient_accumulation_steps`",
        "verl": "`data.train_batch_size`, `actor_rollout_ref.actor.ppo_mini_batch_size`",
    },
    "E402": {
        _ANY: "Measure at the sampling temperature and with the sampler's top-p and top-k, on the policy that is trained. If the "
        "samples are off-policy, correct for it or take fewer updates per batch",
        "trl": "`temperature` in the config (not in the server alone), `top_p=1.0`, `top_k=0`, "
        "`vllm_importance_sampling_correction=True`",
        "verl": "`actor_rollout_ref.rollout.temperature`, `actor_rollout_ref.rollout.top_p=1`, "
        "`actor_rollout_ref.rollout.top_k=-1`, "
        "`algorithm.rollout_correction`",
    },
    "E403": {
        _ANY: "See what changed there: bits in place of nats (factor 1.44), a sum in place of a mean (factor: the length), a "
        "temperature, another version. Compare the two parts of the log separately",
        "trl": "`temperature`; `objective/entropy` is a sum, `entropy` a mean",
        "verl": "`actor_rollout_ref.actor.loss_agg_mode`, `actor_rollout_ref.rollout.temperature`",
    },
    "E404": {
        _ANY: "Nothing, if you resumed on purpose. Check that learning rate, data and controller went on where they were"
    },
    "E405": {
        _ANY: "Log it, or name its column with `--column entropy=KEY`",
        "trl": "TRL's `GRPOTrainer` logs `entropy` from 0.20 on; Unsloth's replacement does not",
        "verl": "`actor_rollout_ref.actor.calculate_entropy=True` (or an `entropy_coeff` above 0) logs `actor/entropy`",
    },
    "E406": {
        _ANY: "Go back to a checkpoint before it; lower the learning rate, clip the gradient, compute the loss in fp32",
        "trl": "`max_grad_norm`, `bf16=True` rather than `fp16`",
        "verl": "`actor_rollout_ref.actor.grad_clip`",
    },
}


def advice_for(code: str, host: str) -> str:
    """What to do, in the words of the host; of both where it is another or not known."""
    entry = ADVICE[code]
    known = {"entrostat": "trl", "trl": "trl", "ms-swift": "trl", "verl": "verl"}.get(host)
    wanted = [known] if known else ["trl", "verl"]
    names = {"trl": "TRL", "verl": "verl"}
    settings = [f"{names[each]}: {entry[each]}" for each in wanted if each in entry]
    return ". ".join([entry[_ANY], *settings]) + "."
