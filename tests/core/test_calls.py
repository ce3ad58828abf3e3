"""A loop of one's own that leaves out a call, makes it at the wrong time or with the wrong thing is told so."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import entrostat as es
from entrostat.core.calls import EMPTY, SOON, UNSTEPPED
from entrostat.errors import ConfigError, DataError, MissingStatistic, SaveError
from entrostat.methods.cards import example
from entrostat.types import Rollouts

B, T, V = 4, 5, 11


def batch_of(control: es.EntropyControl, old: bool = False, empty: bool = False) -> es.TokenBatch:
    """A micro-batch as docs/loop.md makes it; `old`: with what it says of the policy that sampled."""
    logits, ids = torch.randn(B, T, V, requires_grad=True), torch.randint(0, V, (B, T))
    stats = es.token_stats(logits, ids, want=control.wants)
    before = es.token_stats(logits.detach(), ids, want={"logp", *control.old_wants}) if old else None
    return es.TokenBatch(
        stats,
        torch.randn(B),
        torch.zeros(B, T) if empty else torch.ones(B, T),
        None if before is None else before.logp,
        rewards_B=torch.tensor([1.0, 0.0, 1.0, 0.0]),
        groups_B=torch.tensor([0, 0, 1, 1]),
        old=before,
    )


def told(control: es.EntropyControl, steps: int, before: Any = lambda: None, **batch: Any) -> list[str]:
    """What is said of a loop without a call but `before` that takes so many steps."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(steps):
            before()
            one = batch_of(control, **batch)
            control.apply(es.ppo(one), one)
            control.step()
    return [str(warning.message) for warning in said if "control" in str(warning.message)]


@pytest.mark.parametrize("name", es.methods.names())
@pytest.mark.parametrize("old", [False, True])
def test_the_loop_serves_every_method(name: str, old: bool) -> None:
    """Also those that read the policy that sampled: `wants` are statistics of the policy being trained alone."""
    control = es.EntropyControl(example(name))
    one = batch_of(control, old)
    es.loss(control.apply(es.ppo(one), one), one).backward()


def test_a_lacking_old_policy_is_asked_for_by_what_gives_it() -> None:
    control = es.EntropyControl(es.erc())
    assert control.old_wants == {"entropy"} and es.EntropyControl(es.hold()).old_wants == frozenset()
    one = batch_of(control)
    one = es.TokenBatch(one.stats, one.advantages_BT, one.mask_BT, one.stats.logp)
    with pytest.raises(MissingStatistic, match=r"control\.old_wants"):
        control.apply(es.ppo(one), one)


@pytest.mark.parametrize(
    ("method", "call"),
    [
        (es.qae(), "score"),
        (es.wapo(longest=9), "score"),
        (es.temperature(1.0), "temperature"),
        (es.scope(), "group_temperatures"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_call_that_never_comes_is_missed_once(method: Any, call: str) -> None:
    def everything() -> None:
        control.score(rollouts)
        control.group_temperatures(2)
        _ = control.temperature

    ones = torch.ones(B)
    rollouts = Rollouts(ones, torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0, 0, 1, 1]), ones)
    control = es.EntropyControl(method)
    assert sum(f"control.{call}" in text for text in told(control, SOON + 2)) == 1
    control = es.EntropyControl(method)
    assert told(control, SOON + 2, everything) == []


def test_steps_without_tokens_and_micro_batches_without_a_step_are_told() -> None:
    control = es.EntropyControl(es.hold(0.3))
    assert told(control, EMPTY - 1, empty=True) == []
    (text,) = told(control, 2, empty=True)
    assert f"{EMPTY} steps in a row had no token" in text
    one = batch_of(control)
    with pytest.warns(UserWarning, match=r"control\.step\(\) was not called"):
        for _ in range(UNSTEPPED):
            control.observe(one)


@pytest.mark.parametrize(("delay", "by"), [(0, "step"), (1, "step_on")])
def test_a_delay_that_is_not_the_loops_is_told(delay: int, by: str) -> None:
    control = es.EntropyControl(es.hold(0.3), delay=delay)
    one = batch_of(control)
    with pytest.warns(UserWarning, match=rf"moved by {by}, whose delay is {1 - delay}.*delay={1 - delay}\)"):
        if by == "step":
            control.apply(es.ppo(one), one)
            control.step()
        else:
            control.step_on(es.ppo(one), one)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"vocabulary": "x"}, "vocabulary must be .*'x'"),
        ({"vocabulary": 0}, "vocabulary must be .*got 0"),
        ({"updates": 0}, "updates must be .*got 0"),
        ({"updates": 1.5}, r"updates must be .*got 1\.5"),
        ({"delay": 2}, "delay must be 0 or 1 steps, got 2"),
        ({"host": "trl"}, "host must be .*'trl'"),
    ],
)
@pytest.mark.parametrize("method", [es.hold(0.3), es.flow(0.3, kp=1.0)])
def test_wrong_arguments_of_the_control_are_named(method: Any, argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        es.EntropyControl(method, **argument)


def test_a_method_from_a_mapping_is_told_how_to_be_given() -> None:
    with pytest.raises(ConfigError, match="must be text, as 'hold', with its options beside it"):
        es.make({"name": "hold", "target": 0.3})  # type: ignore[arg-type]


def test_arguments_in_the_wrong_order_are_told_the_right_one() -> None:
    control = es.EntropyControl(es.hold(0.3))
    one = batch_of(control)
    plain = es.ppo(one)
    for wrong in (
        lambda: control.apply(one, plain),  # type: ignore[arg-type]
        lambda: es.loss(one, plain),  # type: ignore[arg-type]
        lambda: es.ppo(one.stats),  # type: ignore[arg-type]
        lambda: control.observe(None),  # type: ignore[arg-type]
    ):
        with pytest.raises(DataError, match=r"must be a .*the order is surrogate = control\.apply"):
            wrong()
    with pytest.raises(DataError, match=r"step must be an es\.StepSize.*got 20"):
        es.loss(plain, one, 20)  # type: ignore[arg-type]


def test_a_checkpoint_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        SaveError, match=r"cannot write .*entrostat_state\.json: No such file.*Make the directory before"
    ):
        es.EntropyControl(es.hold(0.3)).save(tmp_path / "absent")
