"""Which methods put advantages of their own in place of the host's, as their cards say it."""

from __future__ import annotations

import pytest
import torch

import entrostat as es
from entrostat.errors import ConfigError
from entrostat.methods import names
from entrostat.methods.cards import described, example
from entrostat.stats import reference_stats
from entrostat.types import Rollouts, Surrogate, TokenBatch

GROUPS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
REWARDS = torch.tensor([1.0, 0, 0, 1, 0, 0, 1, 0])


def advantages(name: str, host: torch.Tensor, rewards: torch.Tensor = REWARDS) -> torch.Tensor:
    """What a method makes of the host's advantages, (B, T), through its reward and its loss stage."""
    method = example(name, **({"k": 2} if name == "pass_at_k" else {}))
    torch.manual_seed(0)
    logits = 2 * torch.randn(len(host), 5, 11)
    ids, mask = torch.randint(11, (len(host), 5)), torch.ones(len(host), 5, dtype=torch.bool)
    stats = reference_stats(logits, ids)
    sums = {want: stats.need(want).sum(1) for want in method.of_rollouts}
    rollouts = Rollouts(host, rewards, GROUPS, mask.sum(1), sums, mask, step=0, total_steps=10)
    scored = method.score(rollouts, method.init())[0].advantages
    batch = TokenBatch(stats, scored, mask, None, rewards, GROUPS)
    return method.apply(Surrogate("ppo", batch.advantages_BT), batch, method.init()).advantages_BT


CHANGING = [name for name in names() if {"advantages", "advantages_BT"} & example(name).writes]


@pytest.mark.parametrize("name", CHANGING)
def test_a_card_says_whether_the_host_s_advantages_are_replaced(name: str) -> None:
    torch.manual_seed(1)
    one, other = torch.randn(2, 8)
    kept = not torch.equal(advantages(name, one), advantages(name, other))
    assert kept == (described(name).own_advantages is None)


@pytest.mark.parametrize("name", ["qae", "unlikeliness", "wapo"])
def test_a_card_says_what_they_are_divided_by(name: str) -> None:
    host, scale = torch.zeros(8), {"group": 1.0, "none": 3.0}[str(described(name).own_advantages)]
    tripled, plain = advantages(name, host, 3 * REWARDS), advantages(name, host)
    assert plain.abs().sum() > 0
    torch.testing.assert_close(tripled, scale * plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("first", ["unlikeliness", "aepo_qwenlong", "edge_masked"])
def test_advantages_that_would_be_replaced_are_refused_in_a_chain(first: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"(?s){first}.* in the reward stage, but 'reward_advantages' .*Leave one out"
    ):
        es.chain(example(first), es.psr())


def test_rows_are_left_out_before_advantages_of_the_reward_stage() -> None:
    es.chain(example("aepo_qwenlong"), es.qae())
