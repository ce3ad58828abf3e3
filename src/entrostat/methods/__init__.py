"""How an objective is changed: one file per idea, papers as presets."""

from entrostat.methods.base import Link, Method, Source, describe, fingerprint
from entrostat.methods.bonus import EntropyBonus
from entrostat.methods.chain import Chain, chain
from entrostat.methods.clip_range import ClipRange
from entrostat.methods.clip_tokens import ClipTokens
from entrostat.methods.entropic import Entropic
from entrostat.methods.flow import Flow
from entrostat.methods.objectives import cispo, grpo, gspo, loss, ppo, token_loss
from entrostat.methods.only_tokens import OnlyTokens
from entrostat.methods.presets import (
    clip_b,
    clip_higher,
    clip_v,
    entropic,
    entropy_bonus,
    flow,
    hold,
    nsr,
    observe,
    only_tokens,
    psr,
    skywork,
    temperature,
    w_reinforce,
)
from entrostat.methods.registry import factory, make, names, source
from entrostat.methods.reward_advantages import RewardAdvantages
from entrostat.methods.temperature import Temperature

__all__ = [
    "Chain",
    "ClipRange",
    "ClipTokens",
    "Entropic",
    "EntropyBonus",
    "Flow",
    "Link",
    "Method",
    "OnlyTokens",
    "RewardAdvantages",
    "Source",
    "Temperature",
    "chain",
    "cispo",
    "clip_b",
    "clip_higher",
    "clip_v",
    "describe",
    "entropic",
    "entropy_bonus",
    "factory",
    "fingerprint",
    "flow",
    "grpo",
    "gspo",
    "hold",
    "loss",
    "make",
    "names",
    "nsr",
    "observe",
    "only_tokens",
    "ppo",
    "psr",
    "skywork",
    "source",
    "temperature",
    "token_loss",
    "w_reinforce",
]
