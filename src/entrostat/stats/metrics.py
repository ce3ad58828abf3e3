"""A summary as the numbers that people look at. Keys start with `token_entropy/`; units are nats per token."""

from __future__ import annotations

import math

from entrostat.stats.clusters import standard_error
from entrostat.stats.summarize import PROBABILITY_EDGES, QUADRANTS
from entrostat.types import Summary


def entropy_metrics(summary: Summary) -> dict[str, float]:
    """Metrics of one optimizer step from its reduced summary; empty where there was not a single token.

    * mean, std: of the entropy over tokens; positive, negative: over tokens of positive and of negative advantage
    * standard_error: of that mean, from the batch's own prompts or sequences (`stats.clusters`); absent with fewer than two
    * surprisal: mean -log p of the sampled tokens, the sampled estimate of the mean
    * near_certain: share of sampled tokens with p > 0.95
    * S, D, D_std: mean of the discriminator, mean and standard deviation of its centered form
    * flow: predicted first-order change of the mean entropy, per unit of step at the logits, and its four parts
    """
    if not summary.tokens:
        return {}
    metrics = {"tokens": summary.tokens}
    have = summary.values
    if "entropy" in have:
        mean = summary.mean("entropy")
        metrics["mean"] = mean
        metrics["std"] = math.sqrt(max(summary.mean("entropy_sq") - mean * mean, 0.0))
        for side in ("positive", "negative"):
            if count := summary.get(f"tokens/{side}"):
                metrics[side] = summary.get(f"entropy/{side}") / count
        if (error := standard_error(summary)) is not None:
            metrics["standard_error"] = error
    if "surprisal" in have:
        metrics["surprisal"] = summary.mean("surprisal")
        first = PROBABILITY_EDGES.index(0.95) + 1
        likely = sum(summary.get(f"probability/{i}") for i in range(first, len(PROBABILITY_EDGES) + 1))
        metrics["near_certain"] = likely / summary.measured if summary.measured else math.nan
    if "centered" in have:
        centered = summary.mean("centered")
        metrics["S"] = summary.mean("discriminator")
        metrics["D"] = centered
        metrics["D_std"] = math.sqrt(max(summary.mean("centered_sq") - centered * centered, 0.0))
        metrics["flow"] = summary.mean("flow")
        metrics |= {f"flow_{name}": summary.mean(f"flow/{name}") for name in QUADRANTS}
    return {f"token_entropy/{name}": value for name, value in metrics.items()}
