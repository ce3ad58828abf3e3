"""The records that travel between statistics, methods and hosts. All frozen; shapes and units on every field.

Dimension suffixes: B sequences (rows), T completion tokens (columns), V vocabulary, d hidden size. Log-probabilities
and entropies are in nats.
"""

from entrostat.types.batches import LARGEST_LOG_RATIO, Divisors, Rollouts, TokenBatch
from entrostat.types.objective import TERMS, Form, Mean, Objective, Surrogate, Term, TermOf, term_value
from entrostat.types.statistics import (
    STATISTICS,
    Clamped,
    LogpAt,
    MinP,
    Nucleus,
    Old,
    Reheated,
    Statistic,
    TokenStats,
    TopKEntropy,
    TopLogp,
    Varentropy,
    Want,
)
from entrostat.types.totals import Summary, Totals

__all__ = [
    "LARGEST_LOG_RATIO",
    "STATISTICS",
    "TERMS",
    "Clamped",
    "Divisors",
    "Form",
    "LogpAt",
    "Mean",
    "MinP",
    "Nucleus",
    "Objective",
    "Old",
    "Reheated",
    "Rollouts",
    "Statistic",
    "Summary",
    "Surrogate",
    "Term",
    "TermOf",
    "TokenBatch",
    "TokenStats",
    "TopKEntropy",
    "TopLogp",
    "Totals",
    "Varentropy",
    "Want",
    "term_value",
]
