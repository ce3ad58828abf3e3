"""Rows as they come in the wild: typed ones, repeated steps, restarts, gaps, NaN, damaged lines, keys without a name."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from entrostat.errors import ConfigError, DataError
from entrostat.logs import Run, read
from entrostat.logs.names import role_of


def runs(path: Path, rows: list[dict], **options: object) -> list[Run]:
    file = path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(file, **options)  # type: ignore[arg-type]


def test_runs_of_one_log_need_not_call_the_entropy_alike(tmp_path: Path) -> None:
    """Only the run whose key was met most was read, and nothing said of the others."""
    rows: list[dict] = [{"run": "a", "step": step, "train/entropy": 0.5, "train/reward": 0.1} for step in range(5)]
    rows += [{"run": "b", "step": step, "actor/entropy": 0.4, "critic/rewards/mean": 0.2} for step in range(9)]
    rows += [{"run": "c", "step": step, "eval/accuracy": 0.3} for step in range(3)]
    found = runs(tmp_path, rows)
    assert [(run.name, run.columns["entropy"].key, len(run.steps)) for run in found] == [
        ("a", "train/entropy", 5),
        ("b", "actor/entropy", 9),
    ]
    for run in found:
        (note,) = [note for note in run.notes if note.code == "left-out"]
        assert note.text == "parts of the log without entropy were left out: 'c'"
    (one,) = runs(tmp_path, rows, columns={"entropy": "actor/entropy"})
    assert one.name == "b"


def test_typed_rows_are_one_row_per_step(tmp_path: Path) -> None:
    rows: list[dict] = [{"type": "eval", "grpo_step": 0, "optimizer_step": 0, "reward": 0.9}]
    for outer in (1, 2, 3):
        rows.append(
            {"type": "rollout", "grpo_step": outer, "reward": 0.1 * outer, "avg_response_token_length": 100.0 + outer}
        )
        for inner in (1, 2):
            step = 2 * outer - 2 + inner
            rows.append(
                {
                    "type": "train",
                    "grpo_step": outer,
                    "optimizer_step": step,
                    "token_entropy": 0.1 * step,
                    "grad_norm": 1.0,
                }
            )
    (run,) = runs(tmp_path, rows)
    assert run.steps.tolist() == [0, 1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(run["entropy"], [np.nan, *(0.1 * s for s in range(1, 7))])
    np.testing.assert_allclose(run["length"], [np.nan, 101, np.nan, 102, np.nan, 103, np.nan])
    assert run["evaluation"][0] == 0.9 and np.isnan(run["reward"][0])  # what was evaluated is not the training's reward


def test_a_resumed_run_keeps_the_last_word(tmp_path: Path) -> None:
    steps = [1, 2, 3, 4, 5, 6, 4, 5, 6, 7]
    (run,) = runs(tmp_path, [{"step": s, "entropy": 0.1 * i} for i, s in enumerate(steps)])
    assert run.steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(run["entropy"], [0, 0.1, 0.2, 0.6, 0.7, 0.8, 0.9])
    assert run.noted("restarts").steps == (4.0,) and run.noted("repeated-steps").steps == (4.0, 5.0, 6.0)  # type: ignore[union-attr]


def test_rows_out_of_order_are_sorted_where_no_step_comes_twice(tmp_path: Path) -> None:
    rows = [{"step": s, "entropy": 0.1 * s} for s in (7, 1, 0, 5, 2, 8, 3, 6, 4)]
    (run,) = runs(tmp_path, rows)
    assert run.steps.tolist() == list(range(9)) and run.noted("out-of-order")
    np.testing.assert_allclose(run["entropy"], 0.1 * run.steps)
    assert not run.noted("restarts") and not run.noted("repeated-steps")


def test_a_new_beginning_is_another_run(tmp_path: Path) -> None:
    found = runs(tmp_path, [{"step": s, "entropy": 0.1} for s in (0, 1, 2, 0, 0, 1, 2, 3)])
    assert [len(run) for run in found] == [3, 1, 4]
    assert [run.name for run in found] == ["part 1", "part 2", "part 3"] and found[0].noted("several-runs")


def test_one_step_in_two_lines(tmp_path: Path) -> None:
    text = (
        "step:0 - val/score:0.5\nstep:0 - actor/entropy:0.4\nstep:1 - actor/entropy:0.3\nstep:1 - "
        "val/score:0.6\nstep:2 - actor/entropy:0.2\n"
    )
    (tmp_path / "a.log").write_text(text)
    (run,) = read(tmp_path / "a.log")
    assert (
        run.steps.tolist() == [0, 1, 2]
        and run["evaluation"][:2].tolist() == [0.5, 0.6]
        and not run.noted("repeated-steps")
    )


def test_text_for_a_step_numbers_the_rows(tmp_path: Path) -> None:
    (run,) = runs(tmp_path, [{"step": "first", "entropy": 0.1}, {"step": "second", "entropy": 0.2}])
    assert run.steps.tolist() == [1, 2] and "'first'" in run.noted("steps-numbered").text  # type: ignore[union-attr]


def test_gaps_nan_and_damage_are_said(tmp_path: Path) -> None:
    (run,) = runs(
        tmp_path, [{"step": s, "entropy": 0.1, "loss": float("nan") if s == 2 else 0.1} for s in (1, 2, 3, 7, 8)]
    )
    assert run.noted("gaps").steps == (3.0,) and "'loss' (1)" in run.noted("not-finite-core").text  # type: ignore[union-attr]
    (run,) = runs(tmp_path, [{"step": 5 * s, "entropy": 0.1} for s in range(1, 6)])
    assert run.noted("logged-every").steps == (5.0,)  # type: ignore[union-attr]
    file = tmp_path / "a.jsonl"
    file.write_text('{"step": 1, "entropy": 0.1}\n{"step": 2, "entr\n{"step": 3, "entropy": 0.2}\n')
    (run,) = read(file)
    assert run["entropy"].tolist() == [0.1, 0.2] and "line 2" in run.noted("damaged").text  # type: ignore[union-attr]


def test_kinds_of_entropy_are_told_apart(tmp_path: Path) -> None:
    both = {"actor/entropy": 0.3, "actor/entropy_loss": 0.4, "actor/entropy_coeff": 0.001}
    (run,) = runs(tmp_path, [{"step": s, **both} for s in range(3)])
    assert run.columns["entropy"].key == "actor/entropy"
    (run,) = runs(tmp_path, [{"step": s, "objective/entropy": 30.0, "reward": 0.1} for s in range(3)])
    assert run.columns["entropy"].unit == "nats per completion" and run.noted("entropy-sum")
    (run,) = runs(tmp_path, [{"step": s, "objective/entropy": 30.0, "policy/entropy_avg": 0.3} for s in range(3)])
    assert run.columns["entropy"].kind == "exact"
    (run,) = runs(tmp_path, [{"step": s, "reward": 0.5, "loss/entropy": -0.001} for s in range(3)])
    assert "entropy" not in run and "loss/entropy" in run.noted("no-entropy").text  # type: ignore[union-attr]


def test_what_cannot_be_an_entropy_per_token_is_not_taken_for_one(tmp_path: Path) -> None:
    (run,) = runs(tmp_path, [{"step": s, "entropy": 150.0 + s, "reward": 0.1} for s in range(3)])
    assert run.columns["entropy"].kind == "sum" and run.columns["entropy"].unit == "nats per completion"
    (run,) = runs(tmp_path, [{"step": s, "actor/entropy": 0.0, "reward": 0.1} for s in range(3)])
    assert "entropy" not in run and "0 in every row" in run.noted("no-entropy").text  # type: ignore[union-attr]
    (run,) = runs(tmp_path, [{"step": s, "entropy": math.nan, "reward": 0.1} for s in range(3)])
    assert "entropy" not in run and "'entropy' is NaN" in run.noted("no-entropy").text  # type: ignore[union-attr]
    (run,) = runs(tmp_path, [{"step": s, "entropy_bits": 1.0, "reward": 0.1} for s in range(3)])
    assert run["entropy"][0] == pytest.approx(0.6931, abs=1e-4) and run.noted("entropy-scaled")
    (run,) = runs(tmp_path, [{"step": s, "reference_entropy": 1.0, "entropy/all": 0.3} for s in range(3)])
    assert run.columns["entropy"].key == "entropy/all"


def test_newest_first_and_a_step_by_its_own_name(tmp_path: Path) -> None:
    (run,) = runs(tmp_path, [{"step": 9 - s, "entropy": 0.1 * (9 - s)} for s in range(9)])
    assert (
        run.steps.tolist() == list(range(1, 10))
        and run["entropy"][0] == pytest.approx(0.1)
        and run.noted("newest-first")
    )
    (run,) = runs(
        tmp_path, [{"moment": 2 * s, "step": s, "entropy": 0.1} for s in range(1, 4)], columns={"step": "moment"}
    )
    assert run.steps.tolist() == [2, 4, 6]


def test_named_columns_and_every_column(tmp_path: Path) -> None:
    rows = [{"step": s, "uncertainty": 0.1 * s, "speed": 3.0} for s in range(4)]
    with pytest.raises(DataError, match="none of them is an entropy.*'uncertainty', 'speed'"):  # noqa: RUF043
        runs(tmp_path, rows)
    (run,) = runs(tmp_path, rows, columns={"entropy": "uncertainty"}, every=True)
    assert (
        run["entropy"][3] == pytest.approx(0.3)
        and run["speed"].tolist() == [3.0] * 4
        and run.columns["entropy"].kind == "unknown"
    )
    with pytest.raises(ConfigError, match="no column 'uncertanty' for the entropy; near it are 'uncertainty'"):
        runs(tmp_path, rows, columns={"entropy": "uncertanty"})
    with pytest.raises(ConfigError, match="is no quantity"):
        runs(tmp_path, rows, columns={"entropi": "uncertainty"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "", "is empty"),
        ("a.log", "hello\nworld\n", "holds no rows of numbers"),
        ("a.json", '{"a": [1, 2]}', "without a list of rows"),
        ("a.csv", "1,2,3\n4,5,6\n", "has no heading.* above '1,2,3'"),
        ("a.bin", "\0\1\2\3" * 50, "is a binary file, but not a known kind of log"),
        ("a.png", "PNG\n\0\0\0IHDR", "begins with b'PNG"),
        ("b.json", '{"log_history": [{"step": 1}', "is JSON that is cut or damaged.*copy it again"),
    ],
)
def test_what_is_no_log_is_refused_with_the_reason(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)
    with pytest.raises(ConfigError, match=f"did you mean {name!r}"):
        read(tmp_path / f"{name}x")


def test_a_folder_without_or_with_many_logs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no log"):
        read(tmp_path)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "log_history.json").write_text('[{"step": 1, "entropy": 0.2}, {"step": 2, "entropy": 0.3}]')
    assert len(read(inner)[0]) == 2
    with pytest.raises(DataError, match="look in inner"):
        read(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("step,entropy\n1,0.2\n")
    with pytest.raises(ConfigError, match=r"several logs: give one of a\.csv, b\.csv"):
        read(tmp_path)


def test_only_what_is_needed_is_held(tmp_path: Path) -> None:
    """A log of many keys leaves only the columns of quantities: a gigabyte is read without being held."""
    import tracemalloc

    row = {f"timing/{i}": 0.1 for i in range(200)} | {"entropy": 0.1}
    file = tmp_path / "a.jsonl"
    with file.open("w") as out:
        for s in range(1500):
            out.write(json.dumps({"step": s, **row}) + "\n")
    read(file)
    tracemalloc.start()
    (run,) = read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(run) == 1500 and len(run.keys) == 202
    assert peak < file.stat().st_size / 4


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("train/actor/entropy", "entropy"),
        ("metrics/policy_entropy_mean", "entropy"),
        ("entropy_coef", "knob"),
        ("entropy_bonus", None),
        ("critic/advantages/mean", None),
        ("critic/grad_norm", None),
        ("val-core/math/reward/mean@1", "evaluation"),
        ("eval_entropy", None),
        ("rewards/format/mean", None),
    ],
)
def test_what_a_key_stands_for(key: str, name: str | None) -> None:
    role = role_of(key)
    assert (role.name if role else None) == name
