"""The standard error of a batch's mean entropy, from sums that add."""

import math

import pytest
import torch

from entrostat.stats import entropy_metrics
from entrostat.stats.clusters import cluster_sums, standard_error
from entrostat.stats.summarize import summarize
from entrostat.types import Summary, TokenBatch, TokenStats


def batch(rows: int, length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Entropies that share their text's own level, and a mask of texts of different lengths, one of them empty."""
    draw = torch.Generator().manual_seed(seed)
    entropy = 0.3 + 0.1 * torch.randn(rows, 1, generator=draw) + 0.02 * torch.randn(rows, length, generator=draw)
    ends = torch.randint(1, length + 1, (rows, 1), generator=draw)
    ends[0] = 0
    return entropy.double(), torch.arange(length) < ends


def by_hand(entropy: torch.Tensor, mask: torch.Tensor, groups: list[int]) -> float:
    totals: dict[int, list[float]] = {}
    for values, row, group in zip(entropy, mask, groups, strict=True):
        each = totals.setdefault(group, [0.0, 0.0])
        each[0] += float(values[row].sum())
        each[1] += int(row.sum())
    totals = {group: each for group, each in totals.items() if each[1]}
    tokens = sum(n for _, n in totals.values())
    mean = sum(h for h, _ in totals.values()) / tokens
    spread = sum((h - mean * n) ** 2 for h, n in totals.values())
    return math.sqrt(len(totals) / (len(totals) - 1) * spread) / tokens


@pytest.mark.parametrize("grouped", [False, True])
def test_it_is_the_cluster_robust_error_however_the_batch_is_cut(grouped: bool) -> None:
    entropy, mask = batch(12, 7, 0)
    groups = [row // 3 for row in range(12)] if grouped else list(range(12))

    def sums(rows: slice) -> Summary:
        ids = torch.tensor(groups[rows]) if grouped else None
        added = cluster_sums(entropy[rows], mask[rows], ids, torch.float64)
        kept = entropy[rows].masked_fill(~mask[rows], 0)
        return Summary({"tokens": mask[rows].sum(), "entropy": kept.sum(), **added})

    expected = by_hand(entropy, mask, groups)
    assert standard_error(sums(slice(0, 12))) == pytest.approx(expected, rel=1e-9)
    cut = sums(slice(0, 3)) + sums(slice(3, 9)) + sums(slice(9, 12))
    assert standard_error(cut.reduced()) == pytest.approx(expected, rel=1e-9)


def test_it_is_what_a_mean_really_varies_by() -> None:
    """Over 400 batches; an error that takes tokens for independent says a third of it."""
    means, errors = [], []
    for seed in range(400):
        entropy, mask = batch(24, 10, seed)
        summary = summarize(TokenBatch(TokenStats(entropy=entropy), torch.zeros(24), mask)).reduced()
        error = standard_error(summary)
        assert error is not None and error == entropy_metrics(summary)["token_entropy/standard_error"]
        means.append(summary.mean("entropy")), errors.append(error**2)
    center = sum(means) / len(means)
    variance = sum((mean - center) ** 2 for mean in means) / (len(means) - 1)
    assert sum(errors) / len(errors) == pytest.approx(variance, rel=0.2)


def test_one_cluster_knows_no_error() -> None:
    entropy, mask = batch(2, 5, 0)  # the first row is empty
    summary = summarize(TokenBatch(TokenStats(entropy=entropy), torch.zeros(2), mask)).reduced()
    assert standard_error(summary) is None and standard_error(Summary()) is None
