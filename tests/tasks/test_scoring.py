"""A completion never runs code and never takes long, whoever scores it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from entrostat.errors import ConfigError, DataError
from entrostat.tasks import load_task, score_all
from entrostat.tasks.base import Problem
from entrostat.tasks.reasoning_gym import EVALUATED, ReasoningGym
from entrostat.tasks.scoring import Limits, Pool

QUICK = Limits(first=0.2, seconds=0.2, megabytes=256)


def evaluator():
    """The worst scorer that there can be."""
    return lambda text: eval(text)


def careless():
    return lambda text: float(text)


def pool(limits: Limits = QUICK, place: str = f"{__name__}:evaluator") -> Pool:
    return Pool(place, {}, ("1",), limits)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch {flag}') or 1",
        "__import__('subprocess').run(['touch', '{flag}']) and 1",
        "open('{flag}', 'w') and 1",
        "__import__('os').open('{flag}', 65) and 1",
        "__import__('pathlib').Path('{flag}').touch() or 1",
        "__import__('os').fork() and 1",
        "__import__('os').remove(__file__) or 1",
        "__import__('socket').create_connection(('127.0.0.1', 9)) and 1",
        "__import__('socket').socket() and 1",
        "__import__('ctypes').CDLL(None) and 1",
        "__import__('os').kill(__import__('os').getppid(), 9) or 1",
        "__import__('gc').get_objects() and 1",
    ],
)
def test_what_is_forbidden_ends_its_worker_and_scores_nothing(tmp_path: Path, text: str) -> None:
    flag = tmp_path / "flag"
    tmp_path.chmod(0o777)
    scored = pool().scores([("0.25",), (text.replace("{flag}", str(flag)),), ("0.5",)])
    assert scored.values == [0.25, 0.0, 0.5]
    assert scored.failed == {"timed_out": 0, "forbidden": 1, "died": 0}
    assert not flag.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9**9**9", "timed_out"),
        ("__import__('time').sleep(60)", "timed_out"),
        ("len(bytearray(2**32))", "died"),
        ("exit()", None),
    ],
)
def test_what_takes_too_much_is_stopped(text: str, reason: str | None) -> None:
    started = time.monotonic()
    scored = pool().scores([(text,), ("1",)])
    assert scored.values == [0.0, 1.0]
    if reason is not None:
        assert scored.failed[reason] == 1
    assert sum(scored.failed.values()) == 1
    assert time.monotonic() - started < 20


def test_a_worker_has_neither_rights_nor_environment_nor_folder() -> None:
    os.environ["ENTROSTAT_SECRET"] = "1"
    try:
        workers = pool()
        questions = {
            "uid": "__import__('os').geteuid() == 0",
            "write": "__import__('os').access('/etc/passwd', 2)",
            "environment": "len(__import__('os').environ)",
        }
        assert dict(
            zip(questions, workers.scores([(q,) for q in questions.values()]).values, strict=True)
        ) == dict.fromkeys(questions, 0.0)
        assert workers.scores([("1 if __import__('colorsys') else 0",)]).values == [1.0]
        assert workers.scores(
            [("__import__('os').path.exists('.') and len(__import__('os').listdir('.'))",)]
        ).values == [0.0]
    finally:
        del os.environ["ENTROSTAT_SECRET"]


def test_alone_an_answer_cannot_touch_the_scores_of_others() -> None:
    poison = "__import__('builtins').__dict__.update(float=lambda x: 1.0) or 0"
    alone = pool(Limits(first=0.2, seconds=0.2, alone=True))
    assert alone.scores([(poison,), ("0.25",), ("0.5",)]).values[1:] == [0.25, 0.5]


def test_slow_answers_come_last_and_have_a_budget() -> None:
    """Many of the worst answers cost no more than the first pass and the budget; the others are scored as if alone."""
    slow, started = 12, time.monotonic()
    scored = pool(Limits(first=0.05, seconds=5.0, budget=1.0)).scores([("9**9**9",)] * slow + [("1",)])
    assert scored.values == [0.0] * slow + [1.0] and scored.failed["timed_out"] == slow
    assert time.monotonic() - started < 40  # not 12 * 5


def test_what_is_only_wrong_is_scored_as_wrong() -> None:
    scored = pool(place=f"{__name__}:careless").scores([("x",), ("nan",), ("7",), ("-1",)])
    assert scored.values == [0, 0, 1, 0] and not any(scored.failed.values())


def test_a_scorer_that_does_not_load_is_an_error() -> None:
    with pytest.raises(DataError, match="does not work in its sandbox: ModuleNotFoundError"):
        Pool("entrostat.nothing:here", {}, (), QUICK).scores([("1",)])


def test_it_works_in_any_thread_and_after_a_worker_was_killed_from_outside() -> None:
    workers, found = pool(), []
    assert workers.scores([("1",)]).values == [1.0]
    for worker in workers._idle:
        os.kill(worker.pid, 9)
    thread = threading.Thread(target=lambda: found.append(workers.scores([("0.5",)] * 3)))
    thread.start()
    thread.join(30)
    # The one that was in the dead worker's hands is not scored; nothing hangs and nothing else is lost.
    assert len(found) == 1 and sum(found[0].values) >= 1.0


def test_math_that_takes_for_ever_is_stopped(tmp_path: Path) -> None:
    file = tmp_path / "task.jsonl"
    file.write_text("".join(f'{{"prompt": "{i}", "answer": "{i}/7"}}\n' for i in range(40)))
    task = load_task(str(file))
    problems = task.problems("train", 3, 0)
    good = [problem.answer.replace("/", " / ") for problem in problems]
    assert score_all(task, problems, good).values == [1.0] * 3
    started = time.monotonic()
    scored = score_all(
        task, [problems[0]] * 5, ["$9^{9^{9^{9}}}$", "$(10^{10^{10}})!$", "9**9**9", good[0], "$\\frac{1}{0}$"]
    )
    assert scored.values[3] == 1.0 and sum(scored.values) == 1.0
    assert time.monotonic() - started < 60


def test_data_sets_that_run_the_answer_are_refused_unless_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"'polynomial_multiplication' by running the completion.*task\.run_answers=true"
    ):
        load_task("rg:polynomial_multiplication")
    task = load_task("rg:polynomial_multiplication", run_answers=True)
    problem = Problem("", "", {"chunk": 0, "index": 0})
    answer = str(task._entry(problem)["answer"])
    assert isinstance(task, ReasoningGym)
    scored = score_all(task, [problem] * 2, ["__import__('os').system('true')", answer])
    assert scored.values == [0.0, 1.0] and scored.failed["forbidden"] == 1


def test_no_other_data_set_runs_the_answer() -> None:
    """All of them are tried, so that a new one of a newer reasoning-gym is found."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    texts, found, tried = (
        ["__import__('os').system('true')", "x+__import__('os').system('true')", "[[__import__('os').system('true')]]"],
        set(),
        0,
    )
    for name in sorted(set(DATASETS) - {"composite"}):
        if name in ("knight_swap", "arc_agi", "rearc"):  # seconds to generate; their answers are lists that json reads
            continue
        entry = reasoning_gym.create_dataset(name, size=1, seed=0)[0]
        workers = Pool(
            "entrostat.tasks.reasoning_gym:scorer",
            {"dataset": name, "config": {}},
            (entry, str(entry["answer"])),
            Limits(1, 1),
        )
        workers._count = 1  # ninety sets: one worker starts sooner than two
        failed = workers.scores([(entry, text) for text in texts]).failed
        tried += 1
        found |= {name} if failed["forbidden"] else set()
        assert not failed["timed_out"] and not failed["died"], name
        workers.close()
    assert found == EVALUATED - {"composite"} and tried > 90
