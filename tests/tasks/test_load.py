"""Tasks by name, and that asking for one stays light."""

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


def test_countdown_needs_neither_torch_nor_transformers():
    heavy = "{'torch', 'transformers', 'trl', 'reasoning_gym'}"
    script = f"import sys, entrostat.tasks, entrostat.tasks.countdown; sys.exit(repr({heavy} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == "set()"
