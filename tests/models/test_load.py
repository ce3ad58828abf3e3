"""Policies by name."""

import subprocess
import sys

import pytest

from entrostat.errors import ConfigError
from entrostat.models import load_policy


def test_a_saved_policy_loads_from_its_folder(tmp_path):
    tiny = load_policy("tiny")
    tiny.model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    again = load_policy(str(tmp_path))
    assert again.tokenizer.padding_side == "left" and again.tokenizer.pad_token_id == 0
    for name, tensor in again.model.state_dict().items():
        assert tensor.equal(tiny.model.state_dict()[name])


@pytest.mark.parametrize("name", ["", "large", "a/b/c"])
def test_an_unknown_name_lists_the_choices(name):
    with pytest.raises(ConfigError, match=r"'tiny', 'tiny-hard', 'smollm2'"):
        load_policy(name)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="could not load"):
        load_policy(str(tmp_path))


def test_importing_models_is_light():
    script = "import sys, entrostat.models; sys.exit(repr({'torch', 'transformers'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == "set()"
