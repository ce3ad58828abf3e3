"""reasoning-gym data sets behind our task interface."""

import inspect
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from entrostat.errors import ConfigError
from entrostat.tasks import Task, load_task
from entrostat.tasks.base import Problem
from entrostat.tasks.reasoning_gym import RUNS_PROGRAMS


@pytest.fixture(scope="module")
def chain_sum():
    return load_task("rg:chain_sum", shots=2, max_terms=3)


def test_answers_score_one_after_a_round_trip_through_json(chain_sum):
    assert isinstance(chain_sum, Task)
    for drawn in chain_sum.problems("train", 20, seed=1):
        again = Problem(**json.loads(json.dumps(asdict(drawn))))
        assert chain_sum.score(again, f" {again.answer}\n\nQuestion: another") == 1.0
        assert chain_sum.score(again, f"I think <answer>{again.answer}</answer>") == 1.0
        assert chain_sum.score(again, "no idea") < 1.0


def test_examples_come_first_and_are_not_posed(chain_sum):
    drawn = chain_sum.problems("train", 300, seed=0)
    shown = drawn[0].prompt.split("\n\n")
    assert len(shown) == 3 and shown[-1].endswith("Answer:")
    assert not {shown[0], shown[1]} & {f"{p.prompt.split(chr(10) * 2)[-1]} {p.answer}" for p in drawn}


def test_examples_take_turns_in_a_chat():
    (drawn,) = load_task("rg:chain_sum", shots=1, template="chatml").problems("eval", 1, seed=0)
    assert drawn.prompt.count("<|im_start|>user\n") == 2
    assert drawn.prompt.count("<|im_end|>\n") == 3
    assert drawn.prompt.endswith("<|im_start|>assistant\n")


def test_splits_are_disjoint_and_deterministic(chain_sum):
    train, held_out = chain_sum.problems("train", 200, seed=0), chain_sum.problems("eval", 100, seed=0)
    assert train == chain_sum.problems("train", 200, seed=0)
    assert not {p.prompt for p in train} & {p.prompt for p in held_out}


def test_another_object_scores_the_same_problem(chain_sum):
    (drawn,) = chain_sum.problems("eval", 1, seed=5)
    assert load_task("rg:chain_sum", max_terms=3).score(drawn, drawn.answer) == 1.0


@pytest.mark.parametrize("garbage", ["", "\x00", "<answer>", "1e999", "9" * 5000, "((((", "nan"])
def test_garbage_gets_a_score(chain_sum, garbage):
    (drawn,) = chain_sum.problems("eval", 1, seed=5)
    assert 0.0 <= chain_sum.score(drawn, garbage) < 1.0


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="did you mean chain_sum"):
        load_task("rg:chain_sums")
    with pytest.raises(ConfigError, match="min_digts"):
        load_task("rg:chain_sum", min_digts=1)
    with pytest.raises(ConfigError, match="template"):
        load_task("rg:chain_sum", template="{q}")
    with pytest.raises(ConfigError, match="shots"):
        load_task("rg:chain_sum", shots=-1)


def test_only_known_data_sets_run_programs():
    """A data set that begins to run programs while it makes problems is to be named in RUNS_PROGRAMS."""
    from reasoning_gym.factory import DATASETS

    running = {name for name, (kind, _) in DATASETS.items() if re.search(r"\bexec\(", _source(kind))}
    assert running == RUNS_PROGRAMS


def _source(kind):
    return Path(inspect.getfile(kind)).read_text()
