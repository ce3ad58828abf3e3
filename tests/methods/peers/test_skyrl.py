"""SkyRL 0.3.0's own policy losses, which add up over tokens: their advantages are divided beforehand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from methods.peers.released import EXACT, SEEDS, batch_of, check, load, ours, stand_in, theirs, without_init

import entrostat as es
from entrostat.lab import group_advantages
from entrostat.types import TokenBatch

ROOM = "skyrl.backends.skyrl_train.utils"
without_init("skyrl", "skyrl.backends", "skyrl.backends.skyrl_train", ROOM, "skyrl.train")
stand_in("skyrl.train.config", AlgorithmConfig=Any)
release = load(f"{ROOM}.ppo_utils")

pytestmark = pytest.mark.parametrize("seed", SEEDS)


def released(name: str, batch: TokenBatch, **settings: Any) -> Any:
    correction = SimpleNamespace(tis_ratio_type=None, sequence_mask_metric=None, outlier_token_is_threshold_low=None)
    defaults = {"eps_clip_low": 0.2, "eps_clip_high": 0.2, "clip_ratio_c": 3.0, "loss_reduction": "sequence_mean"}
    config = SimpleNamespace(policy_loss_type=name, off_policy_correction=correction, **(defaults | settings))
    loss = release.PolicyLossRegistry.get(name)
    mask = batch.mask.double()
    return theirs(lambda logp: loss(logp, batch.old_logp_BT, batch.advantages_BT, config, mask)[0], batch)


@pytest.mark.parametrize(("name", "dual"), [("regular", None), ("dual_clip", 3.0)])
def test_clipped_objective(seed: int, name: str, dual: float | None) -> None:
    batch, _ = batch_of(seed)
    their = released(name, batch, eps_clip_high=0.28)
    check(ours(es.clip_higher(0.28), batch, lambda b: es.ppo(b, dual_clip=dual)), their, int(batch.mask.sum()))


def test_cispo(seed: int) -> None:
    batch, _ = batch_of(seed)
    their = released("cispo", batch, cispo=SimpleNamespace(cispo_eps_clip_low=1.0, cispo_eps_clip_high=0.1))
    check(ours(es.observe(), batch, lambda b: es.cispo(b, 0.1)), their, int(batch.mask.sum()))


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_kl_cov(seed: int, share: float) -> None:
    batch, _ = batch_of(seed)
    their = released("kl_cov", batch, kl_cov=SimpleNamespace(kl_cov_frac=share, ppo_kl_coef=0.7))
    check(ours(es.kl_cov(share, 0.7), batch), their, int(batch.mask.sum()))


def test_clip_cov_where_the_release_draws_all_candidates(seed: int) -> None:
    batch, _ = batch_of(seed)
    their = released("clip_cov", batch, clip_cov=SimpleNamespace(clip_ratio=1.0, clip_cov_lb=0.1, clip_cov_ub=5.0))
    check(ours(es.clip_cov(share=1.0, low=0.1, high=5.0), batch), their, int(batch.mask.sum()))


def test_group_advantages(seed: int) -> None:
    rewards = torch.randint(0, 2, (5, 6), generator=torch.Generator().manual_seed(seed)).double()
    tokens = torch.zeros(30, 3, dtype=torch.float64)
    tokens[:, -1] = rewards.flatten()
    index = [row // 6 for row in range(30)]
    found, _ = release.compute_grpo_outcome_advantage(tokens, torch.ones(30, 3), index, epsilon=1e-6)
    torch.testing.assert_close(found[:, 0].view(5, 6).double(), group_advantages(rewards, 1e-6), **EXACT)
