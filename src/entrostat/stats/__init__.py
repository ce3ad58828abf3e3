"""Statistics of next-token distributions: pure functions of tensors."""

from entrostat.stats.hidden import token_stats_from_hidden
from entrostat.stats.logits import token_stats
from entrostat.stats.metrics import entropy_metrics
from entrostat.stats.reference import reference_stats
from entrostat.stats.sampled import sampled_entropy
from entrostat.stats.shard import VocabularyShard
from entrostat.stats.summarise import summarise

__all__ = [
    "VocabularyShard",
    "entropy_metrics",
    "reference_stats",
    "sampled_entropy",
    "summarise",
    "token_stats",
    "token_stats_from_hidden",
]
