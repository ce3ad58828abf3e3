"""Statistics of next-token distributions: pure functions of tensors."""

from entrostat.stats.first_order import (
    centered_discriminators,
    change_from_grpo_step,
    change_from_raise,
    discriminators,
    entropy_change,
    expected_centered,
    policy_entropy,
    typical_probability,
)
from entrostat.stats.hidden import token_stats_from_hidden
from entrostat.stats.logits import token_stats
from entrostat.stats.metrics import entropy_metrics
from entrostat.stats.reference import reference_stats
from entrostat.stats.sampled import sampled_entropy
from entrostat.stats.summarize import summarize
from entrostat.stats.vocab_parallel import vocab_parallel_stats

__all__ = [
    "centered_discriminators",
    "change_from_grpo_step",
    "change_from_raise",
    "discriminators",
    "entropy_change",
    "entropy_metrics",
    "expected_centered",
    "policy_entropy",
    "reference_stats",
    "sampled_entropy",
    "summarize",
    "token_stats",
    "token_stats_from_hidden",
    "typical_probability",
    "vocab_parallel_stats",
]
