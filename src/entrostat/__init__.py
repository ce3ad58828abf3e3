"""Entrostat: a thermostat for the policy entropy of language models under reinforcement learning.

Names load when they are first used, so `import entrostat` is cheap and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module that holds it.
_HOMES = {
    # statistics
    "token_stats": "entrostat.stats",
    "token_stats_from_hidden": "entrostat.stats",
    "sampled_entropy": "entrostat.stats",
    "summarise": "entrostat.stats",
    "entropy_metrics": "entrostat.stats",
    # records
    "TokenStats": "entrostat.types",
    "TokenBatch": "entrostat.types",
    "Surrogate": "entrostat.types",
    "Summary": "entrostat.types",
    "Term": "entrostat.types",
    # control
    "P": "entrostat.control",
    "PI": "entrostat.control",
    "SelfTuning": "entrostat.control",
    "Step": "entrostat.control",
    "Constant": "entrostat.control",
    "Linear": "entrostat.control",
    "Cosine": "entrostat.control",
    "Piecewise": "entrostat.control",
    "Oscillating": "entrostat.control",
    "Initial": "entrostat.control",
    "Band": "entrostat.control",
    # methods
    "chain": "entrostat.methods",
    "make": "entrostat.methods",
    "hold": "entrostat.methods",
    "flow": "entrostat.methods",
    "entropic": "entrostat.methods",
    "clip_b": "entrostat.methods",
    "clip_v": "entrostat.methods",
    "entropy_bonus": "entrostat.methods",
    "skywork": "entrostat.methods",
    "nsr": "entrostat.methods",
    "psr": "entrostat.methods",
    "w_reinforce": "entrostat.methods",
    "clip_higher": "entrostat.methods",
    "observe": "entrostat.methods",
    "only_tokens": "entrostat.methods",
    "temperature": "entrostat.methods",
    "kl_cov": "entrostat.methods",
    "entropy_advantage": "entrostat.methods",
    "adapo": "entrostat.methods",
    "aent": "entrostat.methods",
    "aepo_qwenlong": "entrostat.methods",
    "ar": "entrostat.methods",
    "archer": "entrostat.methods",
    "aspo": "entrostat.methods",
    "asym_grpo": "entrostat.methods",
    "bapo_balanced": "entrostat.methods",
    "ce_gppo": "entrostat.methods",
    "clip_cov": "entrostat.methods",
    "cosine_bonus": "entrostat.methods",
    "dcpo": "entrostat.methods",
    "e3_temperature": "entrostat.methods",
    "edge_masked": "entrostat.methods",
    "entrocraft": "entrostat.methods",
    "erc": "entrostat.methods",
    "flexible_clip": "entrostat.methods",
    "gppo": "entrostat.methods",
    "high_entropy_tokens": "entrostat.methods",
    "linear_bonus": "entrostat.methods",
    "lopti": "entrostat.methods",
    "lp_reg": "entrostat.methods",
    "mai_clip": "entrostat.methods",
    "opefo": "entrostat.methods",
    "pass_at_k": "entrostat.methods",
    "positive_reweighting": "entrostat.methods",
    "positive_reweighting_staged": "entrostat.methods",
    "qae": "entrostat.methods",
    "reheat": "entrostat.methods",
    "repo": "entrostat.methods",
    "repo_r": "entrostat.methods",
    "rsi_s": "entrostat.methods",
    "siren": "entrostat.methods",
    "stapo": "entrostat.methods",
    "stare": "entrostat.methods",
    "steer": "entrostat.methods",
    "tampo": "entrostat.methods",
    "tre": "entrostat.methods",
    "ulorl": "entrostat.methods",
    "unlikeliness": "entrostat.methods",
    "wapo": "entrostat.methods",
    # objectives
    "ppo": "entrostat.methods",
    "grpo": "entrostat.methods",
    "gspo": "entrostat.methods",
    "cispo": "entrostat.methods",
    "loss": "entrostat.methods",
    "StepSize": "entrostat.methods",
    # a loop of one's own
    "EntropyControl": "entrostat.core.control",
    # any log
    "diagnose": "entrostat.diagnosis",
    "Finding": "entrostat.diagnosis",
    # alerts
    "Alerts": "entrostat.diagnosis.alerts",
    # errors
    "EntrostatError": "entrostat.errors",
    "ConfigError": "entrostat.errors",
    "DataError": "entrostat.errors",
    "MissingStatistic": "entrostat.errors",
    "StateError": "entrostat.errors",
    "HostError": "entrostat.errors",
    "SaveError": "entrostat.errors",
    "NotInstalled": "entrostat.errors",
}
# Public name -> the module that it is.
_MODULES = {
    "trl": "entrostat.hosts.trl",
    "stats": "entrostat.stats",
    "attribution": "entrostat.attribution",
    "lab": "entrostat.lab",
    "control": "entrostat.control",
    "methods": "entrostat.methods",
    "logs": "entrostat.logs",
    "diagnosis": "entrostat.diagnosis",
    "tasks": "entrostat.tasks",
    "models": "entrostat.models",
}

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if not name.startswith("_") and name in importlib.import_module("entrostat.methods.registry").names():
        return getattr(importlib.import_module("entrostat.methods"), name)
    raise AttributeError(f"module 'entrostat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from entrostat.control import PI as PI
    from entrostat.core.control import EntropyControl as EntropyControl
    from entrostat.methods import flow as flow
