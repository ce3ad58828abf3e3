"""The controller's state on disk: written whole or not at all, and never taken for what it is not."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

import entrostat as es
from entrostat.control import PI, Cosine
from entrostat.core.state_file import FILE_NAME, load_state, save_state
from entrostat.errors import SaveError, StateError
from entrostat.methods import Chain
from entrostat.types import Summary, Totals

METHOD = es.flow(0.3)


def state_after(method: Chain, *entropies: float) -> Any:
    state = method.init()
    for entropy in entropies:
        totals = Totals(Summary({"tokens": 3.0, "entropy": 3 * entropy}), ({"gain_sq": 0.3},))
        state, _ = method.update(state, totals)
    return state


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_state(tmp_path, METHOD, state_after(METHOD, 0.1, 0.7 / 3), 2)


def test_what_is_saved_is_what_is_loaded(saved: Path) -> None:
    assert saved.name == FILE_NAME == "entrostat_state.json"
    state, steps = load_state(saved.parent, METHOD)
    assert state == state_after(METHOD, 0.1, 0.7 / 3) and steps == 2
    assert load_state(str(saved.parent), es.flow(0.3)) == (state, steps), "another object, the same settings"


def test_the_file_explains_itself(saved: Path) -> None:
    record = json.loads(saved.read_text())
    assert record.keys() == {"schema", "fingerprint", "method", "steps", "state"}
    assert record["method"]["name"] == "flow"
    assert record["method"]["links"][0]["u"]["target"] == 0.3
    assert record["state"][0]["knobs"]["u"]["steps"] == 2


def test_others_may_read_it(saved: Path) -> None:
    beside = saved.with_name("trainer_state.json")
    beside.write_text("{}")
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(beside.stat().st_mode)


def test_schedules_and_missing_limits_fit_in_the_file(tmp_path: Path) -> None:
    unlimited = PI(Cosine(0.5, 0.2, 10), limits=(-float("inf"), float("inf")))
    method = es.flow(controller=unlimited)
    save_state(tmp_path, method, method.init(), 0)
    assert load_state(tmp_path, method) == (method.init(), 0)


def test_a_missing_state_is_not_a_fresh_start(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"made without entropy control\..*resume_state='fresh'.*do not load it"):
        load_state(tmp_path, METHOD)


def test_a_host_says_in_its_own_words_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(StateError) as error:
        load_state(tmp_path, METHOD, afresh="Type +key=fresh")
    assert str(error.value).endswith("Type +key=fresh") and "resume_state" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"state"', "{}", '{"schema": 1}', "\x00\x01", '{"schema": 1, "fingerprint": NaN}'],
)
def test_an_unreadable_file(saved: Path, text: str) -> None:
    saved.write_text(text)
    with pytest.raises(StateError, match=r"cannot be read .*Use another checkpoint\..*resume_state='fresh'"):
        load_state(saved.parent, METHOD)


def test_a_file_cut_short(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in range(0, len(whole) - 2, 97):
        saved.write_bytes(whole[:size])
        with pytest.raises(StateError, match="cannot be read"):
            load_state(saved.parent, METHOD)
    saved.write_bytes(b"\xff\xfe" + whole)
    with pytest.raises(StateError, match="cannot be read"):
        load_state(saved.parent, METHOD)


@pytest.mark.parametrize("schema", [0, 1, "2", None])
def test_another_schema(saved: Path, schema: object) -> None:
    record = json.loads(saved.read_text()) | {"schema": schema}
    saved.write_text(json.dumps(record))
    with pytest.raises(StateError, match=rf"has schema {schema}, this version reads 2\. .*resume_state='fresh'"):
        load_state(saved.parent, METHOD)


@pytest.mark.parametrize(
    ("other", "changed"),
    [
        (es.flow(0.31), "u.target was 0.3 and is 0.31"),
        (es.flow("0.5 * initial"), "u.target was 0.3 and is Initial(fraction=0.5, over=1)"),
        (es.flow(0.3, settling=60, shape="sign"), "shape was 'flow' and is 'sign'"),
        (es.flow(0.3, kp=9.0), "u was SelfTuning(target=0.3, "),
        (es.entropic(0.3), "it is of 'flow', and the method now is 'entropic'"),
        (es.chain(es.flow(0.3), es.clip_b()), "it is of 'flow', and the method now is 'flow+clip_b'"),
        (es.observe(), "it is of 'flow', and the method now is 'observe'"),
    ],
)
def test_another_method(saved: Path, other: Chain, changed: str) -> None:
    """The error names what was changed, and leaves out what was not."""
    with pytest.raises(StateError, match=r"another method or other settings: .*Resume with the saved ones") as refused:
        load_state(saved.parent, other)
    assert changed in str(refused.value) and "deadband was" not in str(refused.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("state"),
        lambda record: record.pop("steps"),
        lambda record: record.update(steps=None),
        lambda record: record.update(steps="many"),
        lambda record: record.update(state=None),
        lambda record: record.update(state=[]),
        lambda record: record.update(state=[7]),
        lambda record: record.update(state={"knobs": {}}),
        lambda record: record["state"][0].pop("memory"),
        lambda record: record["state"][0].update(memory=[0.1]),
        lambda record: record["state"][0].update(memory={"rms": None}),
        lambda record: record["state"][0].update(knobs=["u"]),
        lambda record: record["state"][0].update(knobs={"v": {}}),
        lambda record: record["state"][0].update(knobs={"u": 3}),
        lambda record: record["state"][0]["knobs"]["u"].pop("drift"),
        lambda record: record["state"][0]["knobs"]["u"].update(drift="0.1"),
        lambda record: record["state"][0]["knobs"]["u"].update(steps=1.5),
        lambda record: record["state"][0]["knobs"]["u"].update(drift=10**400),
        lambda record: record["state"][0]["knobs"]["u"].update(steps=-(10**400)),
        lambda record: record["state"][0].update(memory={"rms": 10**400}),
        lambda record: record["state"][0]["knobs"]["u"].update(other=1.0),
    ],
)
def test_a_damaged_state(saved: Path, damage: Any) -> None:
    record = json.loads(saved.read_text())
    damage(record)
    saved.write_text(json.dumps(record))
    with pytest.raises(StateError, match=r"is damaged .*Use another checkpoint\..*resume_state='fresh'"):
        load_state(saved.parent, METHOD)


def test_a_state_that_is_not_a_number_is_damage(saved: Path) -> None:
    record = json.loads(saved.read_text())
    record["state"][0]["knobs"]["u"]["integral"] = float("nan")
    saved.write_text(json.dumps(record))
    with pytest.raises(StateError, match="it holds NaN"):
        load_state(saved.parent, METHOD)


@pytest.mark.parametrize("call", ["fsync", "replace", "getpid"])
def test_a_full_disk_leaves_the_old_file(saved: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(SaveError, match=r"cannot write .*No space left") as failed:
        save_state(saved.parent, METHOD, state_after(METHOD, 5.0), 9)
    assert failed.value.errno == 28
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [FILE_NAME]
    assert load_state(saved.parent, METHOD)[1] == 2


def test_an_interrupt_in_the_middle_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_state(saved.parent, METHOD, state_after(METHOD, 5.0), 9)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [FILE_NAME]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="Make the directory before"):
        save_state(tmp_path / "absent", METHOD, METHOD.init(), 0)
