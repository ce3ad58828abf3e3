from __future__ import annotations

import math

import pytest
import torch

from entrostat.attribution import flow_account
from entrostat.errors import DataError, MissingStatistic
from entrostat.lab import TabularPolicy, group_advantages
from entrostat.stats import centered_discriminators, reference_stats, summarize
from entrostat.stats.summarize import QUADRANTS
from entrostat.types import Summary, TokenBatch, TokenStats


def batch(seed: int = 0, off_policy: bool = False) -> TokenBatch:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(6, 9, 12, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, 12, (6, 9), generator=generator)
    mask = (torch.rand(6, 9, generator=generator) < 0.8).long()
    stats = reference_stats(logits, tokens)
    old = stats.need("logp") + 0.3 * torch.randn(6, 9, generator=generator, dtype=torch.float64) if off_policy else None
    return TokenBatch(stats, torch.randn(6, generator=generator), mask, old)


@pytest.mark.parametrize("off_policy", [False, True])
def test_account_against_loops_over_tokens(off_policy: bool) -> None:
    data = batch(off_policy=off_policy)
    account = flow_account(summarize(data).reduced())
    by_hand = dict.fromkeys(QUADRANTS, 0.0)
    for row in range(6):
        for column in range(9):
            if data.mask_BT[row, column]:
                a, d = data.advantages_BT[row, column].item(), data.stats.centered[row, column].item()
                name = ("positive" if a > 0 else "negative") + ("_likely" if d > 0 else "_unlikely")
                by_hand[name] += -data.ratio[row, column].item() * a * d
    for name, flow in by_hand.items():
        assert account.quadrants[name] == pytest.approx(flow, rel=1e-10)
    assert account.total == pytest.approx(sum(by_hand.values()), rel=1e-10)
    assert account.tokens == data.mask_BT.sum()


def test_parts_add_up() -> None:
    account = flow_account(summarize(batch(1)).reduced())
    assert account.positive + account.negative == pytest.approx(account.total, rel=1e-12)
    assert account.raising + account.lowering == pytest.approx(account.total, rel=1e-12)
    assert account.raising - account.lowering == pytest.approx(account.gross, rel=1e-12)
    assert sum(account.share(name) for name in QUADRANTS) == pytest.approx(1, rel=1e-12)
    assert account.mean == pytest.approx(account.total / account.tokens)
    assert account.quadrants["positive_likely"] < 0 < account.quadrants["positive_unlikely"]
    assert account.quadrants["negative_unlikely"] < 0 < account.quadrants["negative_likely"]


def test_account_predicts_the_change_of_a_tabular_policy() -> None:
    generator = torch.Generator().manual_seed(0)
    policy = TabularPolicy(torch.randn(40, 6, generator=generator))
    actions = policy.sample(16, generator)
    advantages = group_advantages((actions % 3 == 0).double())
    stats = reference_stats(policy.logits_SV.unsqueeze(1).expand(-1, 16, -1), actions)
    account = flow_account(summarize(TokenBatch(stats, advantages, torch.ones_like(actions))).reduced())
    lr = 1e-4
    exact = policy.grpo_step(actions, advantages, lr).entropy_S.mean() - policy.entropy_S.mean()
    assert lr * account.mean == pytest.approx(exact.item(), rel=1e-3)


def test_no_flow_where_advantages_vanish() -> None:
    data = batch()
    account = flow_account(summarize(TokenBatch(data.stats, torch.zeros(6), data.mask_BT)).reduced())
    assert account.total == account.gross == account.share("positive_likely") == 0


def test_empty_batch() -> None:
    data = batch()
    account = flow_account(summarize(TokenBatch(data.stats, torch.ones(6), torch.zeros(6, 9))).reduced())
    assert account.tokens == account.total == 0
    assert math.isnan(account.mean)


def test_refusals() -> None:
    whole = dict(summarize(batch()).reduced().values)
    with pytest.raises(MissingStatistic, match="flow"):
        flow_account(summarize(TokenBatch(TokenStats(), torch.ones(2), torch.ones(2, 3))).reduced())
    with pytest.raises(DataError, match="add up"):
        flow_account(Summary(whole | {"flow": whole["flow"] * 2 + 1}))
    with pytest.raises(DataError, match="wrong sign"):
        flow_account(Summary(whole | {"flow/positive_likely": 1.0}))
    with pytest.raises(DataError, match="nan"):
        flow_account(Summary(whole | {"flow": math.nan}))


def test_centered_discriminator_is_what_the_flow_counts() -> None:
    logits = torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    token = torch.tensor([[2]])
    summary = summarize(TokenBatch(reference_stats(logits, token), torch.tensor([1.5]), torch.ones(1, 1))).reduced()
    assert flow_account(summary).total == pytest.approx(
        -1.5 * centered_discriminators(logits)[0, 0, 2].item(), rel=1e-12
    )
