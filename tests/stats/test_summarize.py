"""The additive account of an optimizer step: right by hand, and the same however the batch is cut."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrostat.errors import DataError, MissingStatistic
from entrostat.stats import reference_stats, summarize, token_stats
from entrostat.stats.clusters import CLUSTER_SUMS
from entrostat.stats.summarize import PROBABILITY_EDGES, QUADRANTS
from entrostat.types import STATISTICS, Summary, TokenBatch, TokenStats

SEEDS = st.integers(0, 2**31 - 1)


def make_batch(seed: int, rows: int = 6, columns: int = 5) -> TokenBatch:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, columns, 8, generator=generator)
    tokens = torch.distributions.Categorical(logits=logits).probs.flatten(0, 1)
    tokens = torch.multinomial(tokens, 1, generator=generator).view(rows, columns)
    stats = token_stats(logits, tokens, STATISTICS)
    old = stats.need("logp") + 0.2 * torch.randn(rows, columns, generator=generator)
    advantages = torch.randn(rows, generator=generator).round()  # rounding makes some of them exactly zero
    return TokenBatch(stats, advantages, torch.rand(rows, columns, generator=generator) < 0.7, old)


def rows_of(batch: TokenBatch, rows: slice) -> TokenBatch:
    stats = TokenStats(**{n: batch.stats.need(n)[rows] for n in STATISTICS})
    assert batch.old_logp_BT is not None
    return TokenBatch(stats, batch.advantages_BT[rows], batch.mask_BT[rows], batch.old_logp_BT[rows])


def assert_same(left: Summary, right: Summary) -> None:
    assert left.values.keys() == right.values.keys()
    for name, value in left.values.items():
        assert right.get(name) == pytest.approx(float(value), rel=1e-12, abs=1e-12), name


def test_by_hand() -> None:
    batch = make_batch(0)
    expected: dict[str, float] = {}

    def add(name: str, value: float) -> None:
        expected[name] = expected.get(name, 0.0) + value

    stats = batch.stats
    for row in range(6):
        for column in range(5):
            if not batch.mask_BT[row, column]:
                continue
            logp, entropy, baseline = (
                float(stats.need(n)[row, column].double()) for n in ("logp", "entropy", "baseline")
            )
            advantage = float(batch.advantages_BT[row, column])
            ratio = math.exp(logp - float(batch.old_logp_BT[row, column]))  # type: ignore[index]
            discriminator = math.exp(logp) * (entropy + logp)
            centered = discriminator - baseline
            add("tokens", 1), add("tokens/measured", 1), add("surprisal", -logp)
            add("entropy", entropy), add("entropy_sq", entropy**2)
            if advantage:
                sign = "positive" if advantage > 0 else "negative"
                add(f"tokens/{sign}", 1), add(f"entropy/{sign}", entropy)
                add(f"flow/{sign}_{'likely' if centered > 0 else 'unlikely'}", -ratio * advantage * centered)
            add("discriminator", discriminator), add("centered", centered), add("centered_sq", centered**2)
            add("flow", -ratio * advantage * centered), add("flow_sq", (advantage * centered) ** 2)
            add(f"probability/{sum(math.exp(logp) > edge for edge in PROBABILITY_EDGES)}", 1)
    expected["batches"] = 1.0
    expected["sequences"] = float(batch.mask_BT.any(1).sum())
    for row in batch.mask_BT.bool():
        tokens = int(row.sum())
        add("clusters", int(tokens > 0)), add("clusters/tokens_sq", tokens**2)
    for entropies, row in zip(batch.stats.need("entropy").double(), batch.mask_BT.bool(), strict=True):
        total = float(entropies[row].sum())
        add("clusters/entropy_sq", total**2), add("clusters/entropy_tokens", total * int(row.sum()))
    summary = summarize(batch)
    assert set(expected) <= set(summary.values)
    for name in summary.values:
        assert summary.get(name) == pytest.approx(expected.get(name, 0.0), rel=1e-5, abs=1e-6), name


@given(seed=SEEDS, cuts=st.lists(st.integers(0, 6), max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_split_into_micro_batches_adds_up(seed: int, cuts: list[int]) -> None:
    batch = make_batch(seed)
    edges = [0, *sorted(cuts), 6]  # equal neighbors are micro-batches without a single row
    parts = [summarize(rows_of(batch, slice(*pair))) for pair in itertools.pairwise(edges)]
    summed, whole = sum(parts, Summary()).reduced(), summarize(batch).reduced()
    filled = sum(bool(batch.mask_BT[slice(*pair)].any()) for pair in itertools.pairwise(edges))
    assert summed.get("batches") == filled
    assert_same(summed, Summary(dict(whole.values) | {"batches": float(filled)}))


@given(seeds=st.tuples(SEEDS, SEEDS, SEEDS))
@settings(max_examples=25, deadline=None)
def test_merging_is_a_commutative_monoid(seeds: tuple[int, int, int]) -> None:
    a, b, c = (summarize(make_batch(seed, 2, 3)).reduced() for seed in seeds)
    assert_same(a + b, b + a)
    assert_same((a + b) + c, a + (b + c))
    assert_same(a + Summary(), a)
    assert_same(Summary() + a, a)


def test_ranks_are_added_by_one_vector() -> None:
    ranks = [summarize(make_batch(seed)) for seed in (1, 2)]
    calls = []

    def all_reduce(vector: torch.Tensor) -> torch.Tensor:
        calls.append(vector)
        return vector + torch.stack([ranks[1].values[name] for name in sorted(ranks[1].values)])

    assert_same(ranks[0].reduced(all_reduce), (ranks[0] + ranks[1]).reduced())
    assert len(calls) == 1 and calls[0].dim() == 1 and calls[0].dtype == torch.float64


def test_keys_do_not_depend_on_the_data() -> None:
    empty = TokenBatch(make_batch(0).stats, torch.zeros(6), torch.zeros(6, 5))
    assert summarize(empty).values.keys() == summarize(make_batch(3)).values.keys()


def test_empty_mask_sums_to_nothing() -> None:
    batch = make_batch(0)
    summary = summarize(TokenBatch(batch.stats, batch.advantages_BT, torch.zeros(6, 5))).reduced()
    assert set(summary.values.values()) == {0.0}
    assert math.isnan(summary.mean("entropy"))


def test_padding_may_hold_anything() -> None:
    batch = make_batch(4)
    poisoned = {n: batch.stats.need(n).masked_fill(~batch.mask, torch.nan) for n in STATISTICS}
    summary = summarize(TokenBatch(TokenStats(**poisoned), batch.advantages_BT, batch.mask_BT, batch.old_logp_BT))
    assert_same(summary.reduced(), summarize(batch).reduced())


def test_nan_in_a_real_token_shows() -> None:
    batch = make_batch(5)
    row, column = batch.mask.nonzero()[0]
    entropy = batch.stats.need("entropy").clone()
    entropy[row, column] = torch.nan
    summary = summarize(TokenBatch(TokenStats(entropy=entropy), batch.advantages_BT, batch.mask_BT)).reduced()
    assert math.isnan(summary.mean("entropy"))


def test_flow_quadrants_add_up_to_the_flow() -> None:
    summary = summarize(make_batch(6)).reduced()
    assert sum(summary.get(f"flow/{name}") for name in QUADRANTS) == pytest.approx(summary.get("flow"), rel=1e-10)
    assert sum(summary.get(f"probability/{i}") for i in range(8)) == summary.tokens


def test_histogram_bins_are_closed_above() -> None:
    logp = torch.tensor([[0.05, 0.5, 0.95, 0.999, 1.0, 1e-9]]).log()
    summary = summarize(TokenBatch(TokenStats(logp=logp), torch.ones(1), torch.ones(1, 6))).reduced()
    # log and exp in fp32 move an edge by one rounding, so an edge may fall on either side; away from edges nothing may.
    assert summary.get("probability/7") >= 1 and summary.get("probability/0") >= 1
    assert sum(summary.get(f"probability/{i}") for i in range(8)) == 6


def test_only_what_the_statistics_allow() -> None:
    batch = make_batch(7)
    names = set(summarize(TokenBatch(TokenStats(entropy=batch.stats.entropy), torch.ones(6), batch.mask_BT)).values)
    assert names == {
        "tokens",
        "tokens/measured",
        "tokens/positive",
        "tokens/negative",
        "tokens/not_finite",
        "entropy",
        "entropy_sq",
        "sequences",
        "batches",
    } | {
        "entropy/positive",
        "entropy/negative",
        *CLUSTER_SUMS,
    }


def test_mean_weighs_tokens_not_micro_batches() -> None:
    entropy = torch.tensor([[1.0, 1.0, 1.0], [4.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    summary = summarize(TokenBatch(TokenStats(entropy=entropy), torch.ones(2), mask)).reduced()
    assert summary.mean("entropy") == pytest.approx(7 / 4)


def test_tokens_that_have_left_the_loss_are_measured() -> None:
    """What is measured is that of all sampled tokens; the rest is of the mask, also of a batch in two parts."""
    left = make_batch(0, rows=400)
    sampled = left.mask | (torch.rand(left.mask.shape, generator=torch.Generator().manual_seed(1)) < 0.5)
    left = replace(left, old_logp_BT=None, sampled_BT=sampled)
    found, kept, whole = (
        summarize(each) for each in (left, replace(left, sampled_BT=None), replace(left, mask_BT=sampled))
    )
    of_all = {
        "entropy",
        "entropy_sq",
        "surprisal",
        "tokens/measured",
        "on_policy/tokens",
        "on_policy/gap",
        "on_policy/gap_sq",
    }
    of_all |= {*CLUSTER_SUMS, *(name for name in found.values if name.startswith("probability/"))}
    for name in found.values:
        assert found.get(name) == pytest.approx((whole if name in of_all else kept).get(name), rel=1e-9), name
    assert found.mean("entropy") == whole.mean("entropy") != kept.mean("entropy")
    parts = summarize(left.rows(slice(0, 90))) + summarize(left.rows(slice(90, None)))
    assert parts.get("entropy") == pytest.approx(found.get("entropy")) and parts.measured == found.measured


def test_no_gradient_leaves() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    stats = token_stats(logits, torch.zeros(2, 3, dtype=torch.long), STATISTICS)
    summary = summarize(TokenBatch(stats, torch.ones(2), torch.ones(2, 3)))
    assert not any(value.requires_grad for value in summary.values.values())  # type: ignore[union-attr]


def test_bad_batches_are_refused() -> None:
    stats = reference_stats(torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(DataError, match=r"advantages.*\(2, 4\)"):
        TokenBatch(stats, torch.ones(2, 4), torch.ones(2, 3))
    with pytest.raises(DataError, match=r"logp.*\(2, 2\).*\(2, 3\)"):
        TokenBatch(stats, torch.ones(2), torch.ones(2, 2))
    with pytest.raises(DataError, match=r"\(6,\)"):
        TokenBatch(stats, torch.ones(2), torch.ones(6))
    with pytest.raises(MissingStatistic, match="collision"):
        TokenStats(entropy=torch.ones(1)).need("collision")
