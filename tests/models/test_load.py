"""Policies by name."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from entrostat.errors import ConfigError
from entrostat.models import load_policy
from entrostat.models.folder import checked


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
    with pytest.raises(ConfigError, match=r"holds no whole model: it has no config\.json"):
        load_policy(str(tmp_path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    tiny = load_policy("tiny")
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda f: (f / "config.json").write_text("{"), "transformers can make nothing of its config.json"),
        (lambda f: (f / "config.json").write_text('{"model_type": "vit"}'), "a ViTConfig is not of a causal language"),
        (lambda f: (f / "model.safetensors").unlink(), "it has no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is empty"),
        (lambda f: os.truncate(f / "model.safetensors", 10_000), "model.safetensors is cut off"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x04" + bytes(7) + b"nope"), "its weights are damaged"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
            "it has no model-2.safetensors, which model.safetensors.index.json names",
        ),
        (lambda f: [each.unlink() for each in f.glob("token*")], "it has no tokenizer"),
    ],
)
def test_a_folder_that_is_not_whole_says_what_is_missing(whole, tmp_path, damage, why):
    folder = tmp_path / "policy"
    shutil.copytree(whole, folder)
    assert checked(str(folder)).vocab_size == len(load_policy("tiny").tokenizer)
    damage(folder)
    with pytest.raises(ConfigError, match=re.escape(why)):
        checked(str(folder))


def test_importing_models_is_light():
    script = "import sys, entrostat.models; sys.exit(repr({'torch', 'transformers'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == "set()"
