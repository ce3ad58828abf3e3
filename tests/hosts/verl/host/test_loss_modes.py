"""The table of verl's policy losses against their own code: the ends of the clip, the mean, the rollout weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from micro_case import LENGTHS, Micro, change_of, config
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
from verl.workers.config import PolicyLossConfig

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.hosts.verl.batch import control_batch, divisors_of
from entrostat.hosts.verl.loss import controlled_loss
from entrostat.hosts.verl.loss_modes import BY_SEQUENCE, MODES, aggregation_of, mode_of, weights_of

REAL = [name for name in MODES if name != "bypass_mode"]
LINEAR = [name for name in REAL if not {"control", "tokens"} & MODES[name].lacks.keys()]
METHODS = [es.flow(0.4), es.clip_b(0.3), es.hold(2.0, kp=1.0), es.entropic(2.0, kp=2.0, select="all")]


def of_mode(mode, **changes):
    return config(policy_loss=PolicyLossConfig(loss_mode=mode, dro_beta=0.1, clip_cov_lb=4.0), **changes)


def value(micro, weight=None, **changes):
    return float(controlled_loss(of_mode(**changes), micro.outputs(), micro.data(weight=weight))[0])


def test_the_table_has_every_loss_of_verl():
    assert set(MODES) == set(POLICY_LOSS_REGISTRY)


@pytest.mark.parametrize("mode", REAL)
def test_the_mean_that_is_set_counts_where_the_table_says_so(mode):
    micro = Micro(drift=0.5)
    means = [value(micro, mode=mode, loss_agg_mode=each) for each in ("token-mean", BY_SEQUENCE, "token-sum")]
    same = [mean == pytest.approx(means[1], rel=1e-5) for mean in means]
    assert same == ([True] * 3 if MODES[mode].mean else [False, True, False])


@pytest.mark.parametrize("mode", REAL)
def test_losses_that_clip_no_ratio_do_not_read_its_ends(mode):
    micro = Micro(drift=0.5)
    wide, narrow = (value(micro, mode=mode, clip_ratio_low=end, clip_ratio_high=end) for end in (0.9, 0.01))
    reads = "clip_ratio_low" in MODES[mode].lacks.get("ends", "clip_ratio_low")
    assert (wide != narrow) == (reads and mode != "kl_cov")


@pytest.mark.parametrize("mode", LINEAR)
def test_a_weight_on_a_token_is_one_on_its_loss(mode):
    """As the advantages carry it; of `dro` the penalty apart, which is 0 while the policy is the one that sampled."""
    micro, weight = Micro(), torch.rand(len(LENGTHS), max(LENGTHS), generator=torch.Generator().manual_seed(1))
    update = control_batch(EntropyControl(es.observe()), micro.batch(), "token-mean", (0.2, 0.2, 3.0))
    update = replace(update, advantages_BT=update.advantages_BT * weight)
    slopes = []
    for data in (micro.data(update), micro.data(weight=weight)):
        loss, _ = controlled_loss(of_mode(mode), micro.outputs(), data)
        slopes.append(torch.autograd.grad(loss, micro.logits, retain_graph=True)[0])
    assert torch.allclose(*slopes, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "rollout weights"])
@pytest.mark.parametrize(
    ("mode", "method"),
    [
        *((mode, es.observe(account=False)) for mode in REAL),
        *((mode, method) for mode in LINEAR for method in METHODS),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_predicted_is_what_the_backward_pass_does(mode, method, weighted):
    """With `loss_agg_mode` at its default, rollout weights, and tokens that verl has rejected since it counted them."""
    micro = Micro()
    sampled = micro.mask.clone()
    micro.mask[0, 1] = micro.mask[1, :] = 0
    micro.like = micro.nested(micro.mask)
    weight = (
        (2 * torch.rand(micro.mask.shape, generator=torch.Generator().manual_seed(2)) * micro.mask)
        if weighted
        else None
    )
    actor = of_mode(mode)
    mean = aggregation_of(actor)
    batch = replace(
        micro.batch(),
        divisors=divisors_of(mean, micro.mask, len(LENGTHS), sampled_BT=sampled),
        sampled_BT=sampled,
        host_weight_BT=None if weight is None else weights_of(mode_of(actor), weight, micro.mask),
    )
    update = control_batch(EntropyControl(es.chain(method, es.observe())), batch, mean, (0.2, 0.2, 3.0))
    data = micro.data(update, weight=weight)
    assert data["batch_num_tokens"] == int(sampled.sum()) > int(micro.mask.sum())
    loss, _ = controlled_loss(actor, micro.outputs(), data)
    assert update.metrics["entropy_control/predicted"] == pytest.approx(change_of(loss, micro), rel=1e-4)
