"""`EntropyControl.step_on`: the controller sees the very batch that it acts on. Needs no verl."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
import torch
from methods.cases import CASES, Case, apply, data, totals_of

import entrostat as es
from entrostat.control import Linear
from entrostat.core.control import EntropyControl

every = pytest.mark.parametrize("case", CASES, ids=str)


def step_on(control, step):
    batch = step.batch(control.method.requires)
    return control.step_on(es.ppo(batch), batch)


def plain(control):
    return json.dumps(control.method.state_to_dict(control.state))


@every
def test_the_state_is_that_of_apply_and_step(case: Case) -> None:
    if case.name == "kl_cov":
        pytest.skip("what it pools in a step is measured from that step's own means where they are at hand")
    at_once, in_turn = EntropyControl(case()), EntropyControl(case())
    for seed in range(4):
        step = data(seed)
        _, metrics = step_on(at_once, step)
        apply(in_turn, step)
        expected = in_turn.step()
        assert metrics.keys() == expected.keys()
        assert metrics["entropy_control/measured"] == expected["entropy_control/measured"]
        assert plain(at_once) == plain(in_turn)
    assert at_once.steps == in_turn.steps == 4


@every
def test_what_acts_is_the_state_that_has_seen_this_batch(case: Case) -> None:
    at_once, in_turn = EntropyControl(case()), EntropyControl(case())
    step = data(0)
    changed, _ = step_on(at_once, step)
    # What `step_on` does at once, in turn: measure, step, and act in the state that has seen this batch.
    chain, before = in_turn.method, in_turn.state
    batch = dataclasses.replace(step.batch(chain.requires), whole_step=True)
    plain = es.ppo(batch)
    after, _ = chain.update(before, totals_of(chain, before, batch))
    ahead = tuple(link.acting_state(b, a) for link, b, a in zip(chain.links, before, after, strict=True))
    expected = chain.apply(plain, batch, ahead)
    for name in ("advantages_BT", "weight_BT", "keep_BT"):
        ours, theirs = getattr(changed, name), getattr(expected, name)
        assert ours is theirs or torch.equal(ours, theirs)
    for name in ("eps_low", "eps_high"):
        ours, theirs = (torch.as_tensor(getattr(each, name)) for each in (changed, expected))
        assert torch.equal(ours, theirs)
    assert [t.coef for t in changed.terms] == [t.coef for t in expected.terms]


def test_a_schedule_starts_at_its_first_point() -> None:
    control = EntropyControl(es.entropy_bonus(Linear(0.02, -0.01, 3)))
    coefficients = [step_on(control, data(seed))[0].terms for seed in range(3)]
    assert [terms[0].coef if terms else 0.0 for terms in coefficients] == pytest.approx([-0.02, -0.01, 0.0], abs=1e-12)


def test_weights_act_in_the_first_step_already() -> None:
    control = EntropyControl(es.flow(target=0.1))
    changed, metrics = step_on(control, data(0))
    assert metrics["entropy_control/output"] > 0
    assert metrics["entropy_control/predicted"] < metrics["entropy_control/uncontrolled"]
    assert not torch.equal(changed.weight_BT, torch.ones_like(changed.weight_BT))


@every
def test_a_batch_of_many_rows_is_summed_in_parts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = EntropyControl(case()), EntropyControl(case())
    _, expected = step_on(whole, data(0))
    monkeypatch.setattr(sys.modules["entrostat.stats.summarize"], "_POSITIONS", 3 * data(0).mask_BT.shape[1])
    _, metrics = step_on(parts, data(0))
    assert metrics == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_an_empty_step_moves_nothing() -> None:
    control = EntropyControl(es.flow(target=0.1))
    before = plain(control)
    step = data(0)
    changed, metrics = step_on(control, step.replace(mask_BT=torch.zeros_like(step.mask_BT)))
    assert metrics == {"entropy_control/empty_step": 1.0} and changed.weight_BT is None
    assert plain(control) == before and control.steps == 0


def test_a_batch_with_nan_leaves_the_state_as_it_was() -> None:
    control = EntropyControl(es.flow(target=0.1))
    step_on(control, data(0))
    before = plain(control)
    step = data(1)
    logits = step.logits_BTV.detach().clone()
    logits[0, 0] = torch.nan
    with pytest.warns(UserWarning, match="measured entropy is nan"):
        changed, metrics = step_on(control, step.replace(logits_BTV=logits))
    assert metrics == {"entropy_control/skipped_steps": 1.0} and changed.weight_BT is None
    assert plain(control) == before and control.steps == 1
