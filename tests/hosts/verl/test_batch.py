"""The driver's arithmetic: denominators, terms, rewards, and agreement with the TRL adapter. Needs no verl."""

from __future__ import annotations

import pytest
import torch
from methods.cases import data

import entrostat as es
from entrostat.control import Step
from entrostat.core.control import EntropyControl
from entrostat.errors import HostError
from entrostat.hosts.verl.batch import adds_terms, control_batch, needs_loss, session_rewards, token_weight
from entrostat.types import Surrogate, term_value

HOST_CLIP = (0.2, 0.2)
OUTCOMES = {"flow": es.flow(0.4), "clip_b": es.clip_b(0.5), "nsr": es.nsr(), "positive": es.only_tokens()}
# What verl and TRL call the same mean.
MEANS = {"token-mean": "dapo", "seq-mean-token-mean": "grpo", "seq-mean-token-sum-norm": "dr_grpo"}


def controlled(method, step=None, aggregation="token-mean", control=None):
    control = control or EntropyControl(method)
    step = step or data(0, on_policy=True)
    batch = step.batch(control.method.requires)
    return control_batch(control, batch, aggregation, HOST_CLIP), batch


@pytest.mark.parametrize("aggregation", MEANS)
@pytest.mark.parametrize("name", OUTCOMES)
def test_a_dropped_token_counts_as_in_the_trl_adapter(name, aggregation):
    trl = pytest.importorskip("trl", reason="compares with the TRL adapter")
    assert trl
    from entrostat.hosts.trl.loss import LOSSES, token_factor

    control = EntropyControl(OUTCOMES[name])
    batch = data(0, on_policy=True).batch(control.method.requires)
    changed, _ = control.step_on(es.ppo(batch), batch)
    ours = token_weight(changed, batch, aggregation)
    theirs = token_factor(changed, batch, LOSSES[MEANS[aggregation]].mean)
    assert torch.equal(ours, theirs)
    if changed.keep_BT is not None:
        assert (~changed.keep_BT & batch.mask).any()


def test_a_token_mean_of_the_advantages_is_the_mean_over_kept_tokens():
    update, batch = controlled(es.clip_b(0.5))
    kept = update.advantages_BT != 0
    assert 0 < kept.sum() < batch.mask.sum()
    # verl divides by the sampled tokens; the objective's own mean is over the kept ones.
    assert update.advantages_BT.sum() / batch.mask.sum() == pytest.approx(
        float(batch.advantages_BT[kept].sum() / kept.sum()), rel=1e-12
    )


@pytest.mark.parametrize(
    "method",
    [
        es.entropy_bonus(0.03),
        es.hold(0.4),
        es.skywork(target=1.9, delta=0.1, limits=(-0.2, 0.5), start=0.1),
        es.entropic(0.4, kp=2.0, threshold=0.5),
        es.chain(es.flow(0.4), es.entropy_bonus(0.03)),
        es.chain(es.clip_b(0.5), es.entropic(0.4, kp=2.0, select="all")),
    ],
    ids=lambda m: m.name,
)
def test_the_gradient_is_that_of_the_objective_itself(method):
    """verl's loss with our advantages and terms, against `es.loss` on the changed surrogate."""
    step = data(0, on_policy=True)
    control = EntropyControl(method)
    update, batch = controlled(method, step, control=control)
    change = batch.stats.logp - batch.stats.logp.detach()
    ratio = change.exp()
    loss = -(update.advantages_BT * ratio)
    for of, factor in update.terms.items():
        loss = loss + factor * term_value(of, change, batch.stats.entropy, update.reference_BT)
    (loss.masked_fill(~batch.mask, 0).sum() / batch.mask.sum()).backward()
    ours = step.logits_BTV.grad.clone()

    step.logits_BTV.grad = None
    twin = EntropyControl(method)
    batch = step.batch(method.requires)
    changed, _ = twin.step_on(es.ppo(batch), batch)
    es.loss(changed, batch).backward()
    assert torch.allclose(ours, step.logits_BTV.grad, rtol=1e-9, atol=1e-14)
    assert twin.state == control.state


def test_what_a_method_needs_of_the_workers():
    assert not needs_loss(es.flow(0.3)) and not needs_loss(es.clip_v()) and not needs_loss(es.observe())
    assert not needs_loss(es.entropic(0.3, normaliser="all"))
    assert needs_loss(es.clip_higher()) and not adds_terms(es.clip_higher())
    assert adds_terms(es.entropic(0.3)) and adds_terms(es.skywork())


def test_the_clip_range_that_acts_is_this_step_s():
    knob = Step(0.4, 0.01, (0.1, 0.3), start=0.28, gated=False)
    control = EntropyControl(es.clip_higher(eps_high=knob))
    update, _ = controlled(None, control=control)
    assert update.clip == (0.2, control.state[0].knobs["eps_high"].output, 3.0)
    assert update.clip[1] != 0.28
    same, _ = controlled(es.flow(0.4))
    assert same.clip is None


def test_a_clip_range_per_token_is_refused(monkeypatch):
    control = EntropyControl(es.clip_higher())
    step_on = control.step_on

    def per_token(surrogate, batch):
        changed, metrics = step_on(surrogate, batch)
        return Surrogate("ppo", changed.advantages_BT, eps_high=torch.full_like(changed.advantages_BT, 0.3)), metrics

    monkeypatch.setattr(control, "step_on", per_token)
    with pytest.raises(HostError, match="per token"):
        controlled(None, control=control)


def test_rows_of_padding_change_nothing():
    step = data(0, on_policy=True)
    wider = step.replace(
        **{
            name: torch.cat([value, value[:2]])
            for name in ("logits_BTV", "targets_BT", "advantages_BT", "rewards_B", "groups_B")
            if (value := getattr(step, name).detach()) is not None
        },
        mask_BT=torch.cat([step.mask_BT, torch.zeros_like(step.mask_BT[:2])]),
    )
    for method in (es.flow(0.4), es.clip_b(0.5), es.w_reinforce(), es.entropic(0.4, threshold=0.5)):
        plain, padded = EntropyControl(method), EntropyControl(method)
        one, _ = controlled(None, step, control=plain)
        two, _ = controlled(None, wider, control=padded)
        assert plain.state == padded.state
        assert torch.equal(one.advantages_BT, two.advantages_BT[:-2]) and not two.advantages_BT[-2:].any()
        for of, factor in one.terms.items():
            assert torch.equal(factor, two.terms[of][:-2]) and not two.terms[of][-2:].any()


def test_the_reward_of_a_session_is_that_of_its_last_row():
    scores = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.0, 0.25]])
    keys = ["u_0_0", "u_0_1", "u_1_0", "v_x_0_2"]
    assert session_rewards(scores, keys).tolist() == [1.0, 1.0, 0.5, 0.25]


def test_nothing_carries_a_gradient():
    update, _ = controlled(es.chain(es.flow(0.4), es.entropy_bonus(0.03)))
    for value in (update.advantages_BT, *update.terms.values()):
        assert value is None or not value.requires_grad
