"""The driver's arithmetic: denominators, terms, rewards, and agreement with the TRL adapter. Needs no verl."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from methods.cases import data

import entrostat as es
from entrostat.control import Step
from entrostat.core.control import EntropyControl
from entrostat.errors import HostError
from entrostat.hosts.verl.batch import Sessions, control_batch, divisors_of, needs_loss, score_batch
from entrostat.types import Rollouts, Surrogate, term_value

HOST_CLIP = (0.2, 0.2, 3.0)


def controlled(method, step=None, aggregation="token-mean", control=None):
    control = control or EntropyControl(method)
    step = step or data(0, on_policy=True)
    batch = step.batch(control.method.requires)
    return control_batch(control, batch, aggregation, HOST_CLIP), batch


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
    assert not needs_loss(es.entropic(0.3, normalizer="all"))
    assert needs_loss(es.clip_higher()) and not es.clip_higher().adds_terms
    assert es.entropic(0.3).adds_terms and es.skywork().adds_terms


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


@pytest.mark.parametrize(
    "mode", ["token-mean", "token-sum", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
)
def test_several_mini_batches_predict_the_mean_of_their_steps(mode):
    """A batch of two equal mini-batches takes the step of one of them, twice."""
    method = es.chain(es.hold(0.4, kp=1.0), es.observe())
    one = data(0, on_policy=True).batch(method.requires)
    one = dataclasses.replace(one, stats=one.stats.detach())
    rows = torch.arange(len(one.mask)).repeat(2)
    two = one.rows(rows)
    size, predicted = len(one.mask), []
    for batch in (one, two):
        batch = dataclasses.replace(batch, divisors=divisors_of(mode, batch.mask_BT, size))
        update = control_batch(EntropyControl(method), batch, mode, HOST_CLIP)
        predicted.append(update.metrics["entropy_control/predicted"])
        assert update.terms
    assert predicted[1] == pytest.approx(predicted[0], rel=1e-9)


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


def test_rows_of_a_session_are_one_completion():
    sessions = Sessions.of(["u_0_0", "u_0_1", "u_1_0", "v_x_0_2", "v_x_0_10"])
    assert sessions.session_B.tolist() == [0, 0, 1, 2, 2]
    assert sessions.last_S.tolist() == [1, 2, 4]  # by number: row 10 comes after row 2
    assert sessions.prompt_B.tolist() == [0, 0, 0, 1, 1]
    assert sessions.sums(torch.tensor([1, 2, 3, 4, 5])).tolist() == [3, 3, 9]


REWARDED = [
    es.make("pass_at_k", k=2),
    es.make("unlikeliness"),
    es.make("qae"),
    es.make("aepo_qwenlong", low=0.1, high=0.2),
]


def keys_of(batch):
    return [f"u{int(group)}_{row}_0" for row, group in enumerate(batch.groups_B)]


@pytest.mark.parametrize("method", REWARDED, ids=lambda m: m.name)
def test_the_reward_stage_is_that_of_a_loop_of_one_s_own(method):
    control, twin = EntropyControl(method), EntropyControl(method)
    batch = data(0, on_policy=True).batch(method.requires | method.of_rollouts)
    for each in (control, twin):
        each.step_on(es.ppo(batch), batch)
    scored = score_batch(control, batch, Sessions.of(keys_of(batch)), "token-mean", (3, 10))
    lengths = batch.mask.sum(1)
    sums = {name: (batch.stats.need(name).detach() * batch.mask).sum(1) for name in method.of_rollouts}
    plain = Rollouts(batch.advantages_BT[:, 0], batch.rewards_B, batch.groups_B, lengths, sums, batch.mask, None, 3, 10)
    changed = twin.score(plain)
    expected = changed.advantages if changed.advantages.dim() == 2 else changed.advantages.unsqueeze(1)
    if changed.keep_B is not None:
        kept = changed.keep_B
        assert 0 < kept.sum() < len(kept)
        expected = expected * (kept * lengths.sum() / lengths[kept].sum()).unsqueeze(1)
    assert torch.allclose(scored.advantages_BT, expected * batch.mask, atol=1e-12)
    assert not torch.equal(scored.advantages_BT, batch.advantages_BT * batch.mask)
    assert control.step_on(es.ppo(scored), scored)[1].keys() == twin.step_on(es.ppo(scored), scored)[1].keys()


def test_the_reward_stage_does_not_see_rows_without_a_token():
    method = es.make("pass_at_k", k=2)
    batch = data(0, on_policy=True).batch(method.requires)
    mask = batch.mask.clone()
    mask[-2:] = False
    batch = dataclasses.replace(batch, mask_BT=mask)
    keys = [*keys_of(batch)[:-2], "pad_0_0", "pad_1_0"]
    scored = score_batch(EntropyControl(method), batch, Sessions.of(keys), "token-mean")
    whole = data(0, on_policy=True).rows(slice(0, 6)).batch(method.requires)
    alone = score_batch(EntropyControl(method), whole, Sessions.of(keys[:-2]), "token-mean")
    assert torch.equal(scored.advantages_BT[:6], alone.advantages_BT) and not scored.advantages_BT[6:].any()


def test_advantages_that_differ_within_a_row_have_no_reward_stage():
    method = es.make("pass_at_k", k=2)
    batch = data(0, on_policy=True).batch(method.requires)
    batch = dataclasses.replace(batch, advantages_BT=batch.advantages_BT + torch.arange(6.0))
    with pytest.raises(HostError, match="adv_estimator=grpo"):
        score_batch(EntropyControl(method), batch, Sessions.of(keys_of(batch)), "token-mean")


def test_several_mini_batches_leave_less_of_a_push():
    control = EntropyControl(es.hold(0.4), delay=0, updates=4)
    (knob,) = control.method.links[0].knobs.values()
    assert knob.momentum == pytest.approx(0.86**4) and knob.delay == 0


def test_nothing_carries_a_gradient():
    update, _ = controlled(es.chain(es.flow(0.4), es.entropy_bonus(0.03)))
    for value in (update.advantages_BT, *update.terms.values()):
        assert value is None or not value.requires_grad
