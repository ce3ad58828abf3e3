"""Trinity-RFT 0.6.0's own policy losses, entropy loss, Clip_B and Clip_V."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from methods.peers.released import EXACT, SEEDS, batch_of, check, load, ours, stand_in, theirs, without_init

import entrostat as es
from entrostat.types import TokenBatch

ROOM = "trinity.algorithm"
without_init("trinity", ROOM, *(f"{ROOM}.{kind}_fn" for kind in ("advantage", "policy_loss", "entropy_loss")))
stand_in(f"{ROOM}.advantage_fn.advantage_fn", AdvantageFn=object)

pytestmark = pytest.mark.parametrize("seed", SEEDS)


def released(file: str, name: str, batch: TokenBatch, **settings: Any) -> Any:
    loss = getattr(load(f"{ROOM}.policy_loss_fn.{file}"), name)(**settings)
    mask, old = batch.mask.double(), batch.old_logp_BT
    return theirs(lambda logp: loss(logp, old_logprob=old, action_mask=mask, advantages=batch.advantages_BT)[0], batch)


@pytest.mark.parametrize(("mode", "objective"), [("token-mean", es.ppo), ("seq-mean-token-mean", es.grpo)])
def test_clipped_objective(seed: int, mode: str, objective: Any) -> None:
    batch, _ = batch_of(seed)
    settings = {"clip_range_low": 0.1, "clip_range_high": 0.28, "loss_agg_mode": mode}
    their = released("ppo_policy_loss", "PPOPolicyLossFn", batch, **settings)
    check(ours(es.clip_higher(0.28, 0.1), batch, lambda b: objective(b, dual_clip=3.0)), their)


def test_gspo(seed: int) -> None:
    batch, _ = batch_of(seed)
    their = released("gspo_policy_loss", "GSPOLossFn", batch, clip_range_low=0.1, clip_range_high=0.15)
    check(ours(es.observe(), batch, lambda b: es.gspo(b, 0.1, 0.15)), their)


def test_cispo(seed: int) -> None:
    batch, _ = batch_of(seed)
    their = released("cispo_policy_loss", "CISPOPolicyLossFn", batch, clip_range_high=0.1)
    check(ours(es.observe(), batch, lambda b: es.cispo(b, 0.1)), their)


def test_an_entropy_bonus(seed: int) -> None:
    batch, _ = batch_of(seed)
    bonus = load(f"{ROOM}.entropy_loss_fn.entropy_loss_fn").DefaultEntropyLossFn(entropy_coef=0.3)
    entropy = batch.stats.need("entropy")
    value, _ = bonus(entropy, batch.mask.double())
    with_it, without = (ours(method, batch)[0] for method in (es.entropy_bonus(0.3), es.observe()))
    torch.testing.assert_close(without - with_it, value.detach(), **EXACT)


@pytest.mark.parametrize(
    ("name", "theirs_", "options"),
    [
        ("clip_b", {"mu": 0.3}, {"mu": 0.3}),
        ("clip_b", {"mu": 1.0}, {"mu": 1.0}),
        ("clip_v", {"mu": 0.5, "max_frac": 1.0}, {"mu": 0.5, "largest_share": 1.0}),
        ("clip_v", {"mu": 0.3, "max_frac": 0.05}, {"mu": 0.3, "largest_share": 0.05}),
    ],
)
def test_the_tokens_that_stay(seed: int, name: str, theirs_: dict[str, Any], options: dict[str, Any]) -> None:
    batch, step = batch_of(seed)
    stats = batch.stats.detach()
    rewards = torch.zeros_like(stats.need("logp"))
    rewards[:, 0] = step.rewards_B
    fields = {"token_level_rewards": rewards, "response_mask": step.mask_BT.clone()}
    fields |= {key: stats.need("logp").clone() for key in ("rollout_log_probs", "old_log_probs")}
    fields |= {"entropys": stats.need("entropy"), "necs": stats.need("baseline")}
    kind = {"clip_b": ("clipb_advantage", "ClipBAdvantageFn"), "clip_v": ("clipv_advantage", "ClipVAdvantageFn")}[name]
    release = getattr(load(f"{ROOM}.advantage_fn.{kind[0]}"), kind[1])(**theirs_)
    after, _ = release(SimpleNamespace(batch=fields, non_tensor_batch={"uid": step.groups_B.tolist()}))
    batch = replace(batch, advantages_BT=after.batch["advantages"])
    method = es.make(name, scope="micro", **options)
    kept = batch.mask & method.apply(es.ppo(batch), batch, method.init()).keep_BT
    assert torch.equal(kept, after.batch["response_mask"].bool())
    assert kept.sum() < batch.mask.sum()
