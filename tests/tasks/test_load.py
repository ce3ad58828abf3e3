"""Tasks by name, and that asking for one stays light."""

import math
import subprocess
import sys

import pytest

from entrostat.errors import ConfigError
from entrostat.tasks import load_task


@pytest.mark.parametrize("name", ["", "sudoku", "data.csv"])
def test_an_unknown_name_lists_the_choices(name):
    with pytest.raises(ConfigError, match=r"countdown.*rg:.*\.jsonl"):
        load_task(name)


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="color"):
        load_task("countdown", color="red")


@pytest.mark.parametrize(
    ("name", "option", "value", "said"),
    [
        ("countdown", "high", 1e9, "high must be a whole number, got 1000000000.0"),
        ("countdown", "numbers", "3", "numbers must be a whole number, got '3'"),
        ("countdown", "low", True, "low must be a whole number, got True"),
        ("countdown", "eval_share", math.nan, "eval_share must be a finite number, got nan"),
        ("rg:chain_sum", "run_answers", "false", "run_answers must be true or false, got 'false'"),
        ("rg:chain_sum", "template", None, "template must be text, got None"),
        ("x.jsonl", "eval_share", "x", "eval_share must be a finite number, got 'x'"),
        ("x.jsonl", "max_completion_tokens", 1.5, "max_completion_tokens must be a whole number, got 1.5"),
    ],
)
def test_an_option_of_another_type_is_refused(name, option, value, said):
    with pytest.raises(ConfigError, match=said):
        load_task(name, **{option: value})


def test_countdown_needs_neither_torch_nor_transformers():
    heavy = "{'torch', 'transformers', 'trl', 'reasoning_gym'}"
    script = f"import sys, entrostat.tasks, entrostat.tasks.countdown; sys.exit(repr({heavy} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == "set()"
