"""verl 0.9.1's own policy losses, advantages and penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from methods.peers.released import EXACT, SEEDS, batch_of, check, ours, theirs
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig, PolicyLossConfig

import entrostat as es
from entrostat.lab import group_advantages
from entrostat.types import TokenBatch, term_value

pytestmark = pytest.mark.parametrize("seed", SEEDS)


def released(name: str, batch: TokenBatch, mode: str = "token-mean", **settings: Any) -> Any:
    config = ActorConfig(strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, **settings)
    loss = core_algos.get_policy_loss_fn(name)
    mask = batch.mask.double()
    return theirs(lambda logp: loss(batch.old_logp_BT, logp, batch.advantages_BT, mask, mode, config)[0], batch)


def dual(batch: TokenBatch) -> Any:
    return es.ppo(batch, dual_clip=3.0)


def test_clipped_objective_with_dual_clip(seed: int) -> None:
    batch, _ = batch_of(seed)
    check(ours(es.observe(), batch, dual), released("vanilla", batch))


def test_clip_higher(seed: int) -> None:
    batch, _ = batch_of(seed)
    wide = released("vanilla", batch, clip_ratio_low=0.1, clip_ratio_high=0.3)
    check(ours(es.clip_higher(eps_high=0.3, eps_low=0.1), batch, dual), wide)


def test_mean_over_sequences(seed: int) -> None:
    batch, _ = batch_of(seed)
    check(
        ours(es.observe(), batch, lambda b: es.grpo(b, dual_clip=3.0)),
        released("vanilla", batch, "seq-mean-token-mean"),
    )


def test_gspo(seed: int) -> None:
    batch, _ = batch_of(seed)
    their = released("gspo", batch, "seq-mean-token-mean", clip_ratio_low=0.1, clip_ratio_high=0.15)
    check(ours(es.observe(), batch, lambda b: es.gspo(b, 0.1, 0.15)), their)


def test_cispo(seed: int) -> None:
    batch, _ = batch_of(seed)
    check(
        ours(es.observe(), batch, lambda b: es.cispo(b, 0.1)),
        released("cispo", batch, clip_ratio_low=1.0, clip_ratio_high=0.1),
    )


@pytest.mark.parametrize("share", [0.02, 0.2])
@pytest.mark.parametrize("scope", ["step", "micro"])
def test_kl_cov(seed: int, share: float, scope: Any) -> None:
    batch, _ = batch_of(seed)
    policy_loss = PolicyLossConfig(kl_cov_ratio=share, ppo_kl_coef=0.7)
    check(ours(es.kl_cov(share, 0.7, scope), batch), released("kl_cov", batch, policy_loss=policy_loss))


def test_clip_cov_where_the_release_draws_all_candidates(seed: int) -> None:
    """Each draws its tokens from the candidates in its own way: with a share of 1 both take all of them."""
    batch, _ = batch_of(seed)
    policy_loss = PolicyLossConfig(clip_cov_ratio=1.0, clip_cov_lb=0.1, clip_cov_ub=5.0)
    their = released("clip_cov", batch, policy_loss=policy_loss)
    check(ours(es.clip_cov(share=1.0, low=0.1, high=5.0), batch), their)
    plain = ours(es.observe(), batch)
    assert not torch.allclose(plain[1], their[1])


def test_an_entropy_bonus(seed: int) -> None:
    """verl subtracts entropy_coeff times its mean entropy; the gradient goes to the logits."""
    batch, step = batch_of(seed)
    logits = step.logits_BTV
    mean = core_algos.compute_entropy_loss(logits, batch.mask.double())
    (their,) = torch.autograd.grad(-0.3 * mean, logits)
    full = step.batch(["logp", "entropy", "baseline"])
    with_it, without = (
        torch.autograd.grad(es.loss(m.apply(es.ppo(full), full, m.init()), full), logits, retain_graph=True)[0]
        for m in (es.entropy_bonus(0.3), es.observe())
    )
    torch.testing.assert_close(with_it - without, their, **EXACT)


def test_group_advantages(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, (5, 6), generator=draw).double()
    rewards[0] = 1.0
    index = np.repeat(np.arange(5), 6)
    tokens = torch.zeros(30, 3, dtype=torch.float64)
    tokens[:, -1] = rewards.flatten()
    found, _ = core_algos.compute_grpo_outcome_advantage(tokens, torch.ones(30, 3), index, epsilon=1e-6)
    torch.testing.assert_close(found[:, 0].view(5, 6).double(), group_advantages(rewards, 1e-6), **EXACT)


def test_the_k3_term(seed: int) -> None:
    batch, _ = batch_of(seed)
    k3 = core_algos.kl_penalty(batch.stats.need("logp"), batch.old_logp_BT, "low_var_kl")
    torch.testing.assert_close(
        term_value("k3", batch.log_ratio, None, torch.zeros_like(k3)) * batch.mask, k3 * batch.mask, **EXACT
    )
