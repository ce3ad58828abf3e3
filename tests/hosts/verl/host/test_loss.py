"""The workers' loss on a micro-batch, against the objective written out, and against verl's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from micro_case import LENGTHS, Micro, change_of, config, gradient
from verl.utils import tensordict_utils as tu
from verl.workers.utils.losses import ppo_loss

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.hosts.verl.batch import control_batch, divisors_of
from entrostat.hosts.verl.loss import controlled_loss
from entrostat.types import TokenBatch

METHODS = [
    es.entropy_bonus(0.05),
    es.hold(0.4),
    es.skywork(target=1.9, delta=0.1, limits=(-0.2, 0.5), start=0.1),
    es.entropic(0.4, kp=2.0, threshold=0.2),
    es.chain(es.flow(0.4), es.entropy_bonus(0.03)),
    es.clip_b(0.5),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_gradient_is_that_of_the_objective_itself(method):
    micro = Micro()
    control, twin = EntropyControl(method), EntropyControl(method)
    update = control_batch(control, micro.batch(), "token-mean", (0.2, 0.2, 3.0))
    loss, metrics = controlled_loss(config(), micro.outputs(), micro.data(update))
    changed, _ = twin.step_on(es.ppo(micro.batch()), micro.batch())
    expected = es.loss(changed, micro.batch())
    assert torch.allclose(gradient(loss, micro), gradient(expected, micro), rtol=1e-4, atol=1e-7)
    assert ("actor/entropy_control_terms" in metrics) == bool(changed.terms)


def test_without_anything_of_ours_it_is_verl_s_own():
    micro = Micro(drift=0.5)
    ours, _ = controlled_loss(config(), micro.outputs(), micro.data())
    theirs, _ = ppo_loss(config(), micro.outputs(), micro.data())
    assert torch.equal(ours, theirs)


def test_a_bonus_is_verl_s_own_bonus():
    micro = Micro(drift=0.5)
    control = EntropyControl(es.entropy_bonus(0.05))
    update = control_batch(control, micro.batch(), "token-mean", (0.2, 0.2, 3.0))
    ours, _ = controlled_loss(config(), micro.outputs(), micro.data(update))
    theirs, _ = ppo_loss(config(entropy_coeff=0.05), micro.outputs(), micro.data())
    assert torch.allclose(gradient(ours, micro), gradient(theirs, micro), rtol=1e-5, atol=1e-8)


def test_a_clip_range_is_verl_s_own_with_those_numbers():
    micro = Micro(drift=0.5)
    control = EntropyControl(es.clip_higher(0.5, 0.1))
    update = control_batch(control, micro.batch(), "token-mean", (0.2, 0.2, 3.0))
    ours, _ = controlled_loss(config(), micro.outputs(), micro.data(update))
    theirs, _ = ppo_loss(config(clip_ratio_low=0.1, clip_ratio_high=0.5), micro.outputs(), micro.data())
    plain, _ = ppo_loss(config(), micro.outputs(), micro.data())
    assert torch.equal(ours, theirs) and not torch.equal(ours, plain)


def test_a_stale_token_s_term_is_weighted_by_its_ratio():
    """Off-policy the released EntroPIC term is u * mean(-r |A|): linear in the ratio, so exact there too."""
    micro = Micro(drift=0.5)
    control = EntropyControl(es.entropic(0.4, kp=2.0, select="all"))
    at_old = TokenBatch(micro.stats.detach(), micro.advantages, micro.mask)
    update = control_batch(control, at_old, "token-mean", (0.2, 0.2, 3.0))
    with_term, _ = controlled_loss(config(), micro.outputs(), micro.data(update))
    plain, _ = ppo_loss(config(), micro.outputs(), micro.data())
    output = control.state[0].knobs["u"].output
    ratio = (micro.stats.logp - micro.old).exp()
    term = -output * (ratio * micro.advantages.abs() * micro.mask).sum() / micro.mask.sum()
    assert (with_term - plain).item() == pytest.approx(term.item(), rel=1e-5)


@pytest.mark.parametrize(
    "method",
    [es.flow(0.4), es.clip_b(0.3), es.hold(2.0, kp=1.0), es.entropic(2.0, kp=2.0, select="all")],
    ids=lambda m: m.name,
)
@pytest.mark.parametrize("scale", [None, 8])
@pytest.mark.parametrize(
    "mode", ["token-mean", "token-sum", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
)
def test_predicted_is_what_the_backward_pass_does(mode, scale, method):
    """Beside a row without a token, as verl fills batches up with."""
    micro = Micro()
    micro.mask[1] = 0
    micro.like = micro.nested(micro.mask)
    batch = replace(micro.batch(), divisors=divisors_of(mode, micro.mask, len(LENGTHS), scale))
    update = control_batch(EntropyControl(es.chain(method, es.observe())), batch, mode, (0.2, 0.2, 3.0))
    data = micro.data(update, batch_num_tokens=int(micro.mask.sum()))
    loss, metrics = controlled_loss(config(loss_agg_mode=mode, loss_scale_factor=scale), micro.outputs(), data)
    assert method.name not in ("hold", "entropic") or metrics["actor/entropy_control_terms"].values[0]
    assert update.metrics["entropy_control/predicted"] == pytest.approx(change_of(loss, micro), rel=1e-4)


def test_ranks_and_micro_batches_share_one_mean():
    micro = Micro()
    control = EntropyControl(es.entropy_bonus(0.05))
    update = control_batch(control, micro.batch(), "token-mean", (0.2, 0.2, 3.0))
    whole, _ = controlled_loss(config(), micro.outputs(), micro.data(update))
    data = micro.data(update)
    tu.assign_non_tensor(data, dp_size=2, batch_num_tokens=2 * sum(LENGTHS))
    half, _ = controlled_loss(config(), micro.outputs(), data)
    assert torch.allclose(whole, half)  # two ranks with equal shares, whose gradients are averaged
