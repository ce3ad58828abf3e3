"""`+entrostat.*` in verl's configuration: the names and values of `entrostat train`, and what verl must not be set to.

+entrostat.method.name=hold +entrostat.method.target=0.3     the method and its options
+entrostat.resume_state=fresh                                start the controller afresh from a checkpoint
+entrostat.tokens.every=25                                   keep a sample of the tokens, for the report
+entrostat.alerts.wandb=true                                 send findings while the run goes on
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from entrostat.attribution.tokens import check_sizes
from entrostat.core.host import Host, check_completions, check_ignored, check_replaced
from entrostat.core.specification import build_method
from entrostat.diagnosis.alerts import Alerts
from entrostat.errors import ConfigError, HostError, did_you_mean
from entrostat.hosts.verl.batch import needs_loss, one_advantage
from entrostat.hosts.verl.loss_modes import check_loss
from entrostat.methods import Chain
from entrostat.methods.record import Division
from entrostat.types import STATISTICS

VERL = Host(
    "verl's driver",
    stages=frozenset({"reward", "loss"}),
    fields=frozenset(
        {"advantages", "rows", "advantages_BT", "weight_BT", "keep_BT", "eps_low", "eps_high", "dual_clip"}
    ),
    token_clips=False,
    term_statistics=False,
    statistics=frozenset(STATISTICS),
    parameterized=False,
    old=False,
    data=frozenset({"rewards", "groups"}),
    why={
        "stage:sampling": "verl fixes the sampling temperature when its rollout workers start; choose another method",
        "form": "the workers' loss takes weights, a clip range and added terms; in TRL and in your own loop it works",
        "stopped_BT": "it depends on the policy that the workers have while they update; in your own loop it works",
        "token_clips": "verl's policy losses take two numbers; in TRL and in your own loop it works",
        "statistic": "the workers return statistics that have no parameter; in TRL and in your own loop it works",
        "old": "the driver acts before the update, when old and present policy are the same; in your own loop it works",
    },
)
"""What our verl trainer can express, whatever its engine."""

KEYS = ("method", "resume_state", "tokens", "alerts")
STRATEGIES = ("fsdp", "fsdp2", "megatron")
OF_TOKENS = ("gae", "optimal_token_baseline", "tir_optimal_token_baseline")
"""Estimators of verl that give each token an advantage of its own."""
OF_RETURNS = ("reinforce_plus_plus", "remax")
"""Estimators that do so where the rewards are not those of whole completions alone."""
HINT = "for example +entrostat.method.name=hold +entrostat.method.target=0.3"


@dataclass(frozen=True)
class Settings:
    """What `+entrostat.*` says.

    Attributes:
        tokens: what `attribution.TokenRecorder` takes; None: no tokens are recorded.
        alerts: None where nothing is sent.
    """

    method: Chain
    resume_state: Literal["require", "fresh"] = "require"
    tokens: Mapping[str, Any] | None = None
    alerts: Alerts | None = None


def read_settings(section: Any) -> Settings:
    """The settings behind the plain values of `config.entrostat`; `ConfigError` names the dotted key of what is wrong."""
    if not isinstance(section, Mapping) or "method" not in section:
        raise ConfigError(f"entrostat.method: is needed and not given, {HINT}; to measure alone, the method 'observe'")
    for key in section:
        if key not in KEYS:
            raise ConfigError(
                f"entrostat.{key}: unknown key{did_you_mean(str(key), KEYS)}; there are {', '.join(KEYS)}"
            )
    method = section["method"]
    named = {"name": method} if isinstance(method, str) else method
    if not isinstance(named, Mapping) or "name" not in named:
        raise ConfigError(f"entrostat.method.name: is needed and not given, {HINT}")
    options = {key: value for key, value in named.items() if key != "name"}
    resume_state = section.get("resume_state", "require")
    if resume_state not in ("require", "fresh"):
        raise ConfigError(f"entrostat.resume_state: must be 'require' or 'fresh', got {resume_state!r}")
    tokens, places = (section.get(name) for name in ("tokens", "alerts"))
    for name, given in (("tokens", tokens), ("alerts", places)):
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f"entrostat.{name}: give its settings, such as +entrostat.{name}.every=25; got {given!r}")
    try:
        chain = build_method(str(named["name"]), options)
        check_sizes(**(tokens or {}))
        known = [name for name in inspect.signature(Alerts).parameters if name != "call"]
        if strange := [str(name) for name in places or () if name not in known]:
            raise ConfigError(
                f"alerts.{strange[0]}: unknown key{did_you_mean(strange[0], known)}; there are {', '.join(known)}"
            )
        alerts = None if places is None else Alerts(**places)
    except ConfigError as error:
        raise ConfigError(f"entrostat.{error}") from error
    return Settings(chain, resume_state, tokens, alerts)


def _clip_given(actor: Any) -> dict[str, tuple[str, float]]:
    """The ends of the clip that are not verl's defaults, as `check_replaced` takes them."""
    plain = {
        "clip_ratio_low": ("eps_low", 0.2),
        "clip_ratio_high": ("eps_high", 0.2),
        "clip_ratio_c": ("dual_clip", 3.0),
    }
    return {
        field: (f"actor_rollout_ref.actor.{name}={value}", float(value))
        for name, (field, default) in plain.items()
        if (value := getattr(actor, name, None)) not in (None, default)
    }


def _advantages_given(algorithm: Any) -> dict[str, tuple[Any, Division | None]]:
    """The settings of advantages that are not verl's defaults, as `check_ignored` takes them; an estimator must be named."""
    given: dict[str, tuple[Any, Division | None]] = {}
    if algorithm.get("use_kl_in_reward", False):
        given["algorithm.use_kl_in_reward"] = True, None
    if not algorithm.get("norm_adv_by_std_in_grpo", True):
        given["algorithm.norm_adv_by_std_in_grpo"] = False, "none"
    return given


def check_host(config: Any, method: Chain) -> None:
    """Refuse settings of verl that control cannot work beside, before anything is started.

    Raises:
        HostError: naming the setting, its value and what to set instead.
        ConfigError: the same of a setting that the method would leave without effect.
    """
    actor = config.actor_rollout_ref.actor
    _check_measured(config)
    if (config.get("distillation") or {}).get("enabled", False) and needs_loss(method):
        raise HostError(
            f"distillation.enabled=True replaces the policy loss that {method.name!r} adds to: leave one of them out"
        )
    VERL.check(method)
    check_replaced(method, _clip_given(actor))
    check_ignored(method, _advantages_given(config.algorithm))
    _check_estimator(config.algorithm, method)
    rollout = config.actor_rollout_ref.get("rollout") or {}
    if (count := rollout.get("n")) is not None:
        check_completions(method, "actor_rollout_ref.rollout.n", count)
    _check_sampling(rollout)
    if method.stages:  # measuring fights with nothing
        _check_bonus(actor)
    check_loss(actor, method)


def _check_measured(config: Any) -> None:
    """The forward pass that measures the entropy takes place, and shows the logits."""
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    correction = config.algorithm.get("rollout_correction") or {}
    if correction.get("bypass_mode", False):
        raise HostError(
            "algorithm.rollout_correction.bypass_mode=True skips the forward pass that measures the entropy: set it to False"
        )
    if actor.strategy not in STRATEGIES:
        raise HostError(
            f"actor_rollout_ref.actor.strategy={actor.strategy!r}: exact statistics come from our engines for "
            f"{', '.join(STRATEGIES)}; set one of them"
        )
    if model.get("use_fused_kernels", False):
        backend = (model.get("fused_kernel_options") or {}).get("impl_backend")
        if actor.strategy == "megatron" or backend != "torch":
            raise HostError(
                f"model.use_fused_kernels=True with impl_backend={backend!r} and strategy={actor.strategy!r} never shows "
                "the logits: set fused_kernel_options.impl_backend=torch with FSDP, or use_fused_kernels=False"
            )


def _check_estimator(algorithm: Any, method: Chain) -> None:
    """A method of the reward stage finds one advantage of each completion; an estimator of one's own tells by its first batch."""
    if "reward" not in method.stages:
        return
    name, gamma = str(algorithm.get("adv_estimator")), algorithm.get("gamma", 1.0)
    setting = f"algorithm.adv_estimator={name}"
    if name == "reinforce_plus_plus" and gamma != 1:
        setting += f" with algorithm.gamma={gamma}"
    elif name in OF_RETURNS and algorithm.get("use_kl_in_reward", False):
        setting += " with algorithm.use_kl_in_reward=True"
    elif name not in OF_TOKENS:
        return
    raise HostError(one_advantage(method, setting))


def _check_sampling(rollout: Any) -> None:
    """The tokens are sampled, and from the distribution whose entropy is measured."""
    temperature = rollout.get("temperature", 1.0)
    if not 0 < temperature < math.inf:
        raise HostError(
            f"actor_rollout_ref.rollout.temperature={temperature} samples from no distribution, and the entropy is measured at "
            "the sampling temperature: set a number above 0, such as 1.0"
        )
    for name, whole in {"top_p": (1, None), "top_k": (-1, 0, None)}.items():
        if (value := rollout.get(name, whole[0])) not in whole:
            raise HostError(
                f"actor_rollout_ref.rollout.{name}={value} samples from a part of the distribution, and the entropy is measured "
                f"of the whole: set actor_rollout_ref.rollout.{name}={whole[0]}, and rollout.temperature for less randomness"
            )


def _check_bonus(actor: Any) -> None:
    """No entropy bonus of verl's own moves the same entropy."""
    if actor.entropy_coeff != 0:
        raise HostError(
            f"actor.entropy_coeff={actor.entropy_coeff} stands beside Entrostat's control: verl's entropy bonus moves the "
            "same entropy; here it is the method 'entropy_bonus'. Set actor.entropy_coeff=0"
        )
