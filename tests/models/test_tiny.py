"""The tiny policy as shipped, and the script that makes it."""

import json
from importlib.resources import files

import pytest
import torch

from entrostat.errors import DataError
from entrostat.models import load_policy, warmstart
from entrostat.models.start import measure_start
from entrostat.models.tiny import WEIGHTS, load_tiny
from entrostat.tasks.countdown import Countdown
from entrostat.tasks.evaluate import evaluate


def test_the_shipped_policy_starts_where_it_should():
    """Measured here on held-out problems, not read from the file."""
    policy, task = load_policy("tiny"), Countdown()
    start = measure_start(policy.model, policy.tokenizer, task, task.problems("eval", 32, seed=11), samples=12)
    assert start.near_certain >= 0.70
    assert 0.2 <= start.entropy <= 0.6
    assert 0.10 <= start.accuracy <= 0.30
    assert start.right_answers >= 1.5


def test_the_shipped_policy_is_small_and_in_fp32():
    policy = load_policy("tiny")
    assert 0.8e6 < sum(p.numel() for p in policy.model.parameters()) < 1.1e6
    assert {p.dtype for p in policy.model.parameters()} == {torch.float32}
    assert policy.tokenizer.padding_side == "left" and policy.tokenizer.pad_token == "<pad>"
    stored = files("entrostat.models") / "weights" / WEIGHTS["tiny"]
    assert len(stored.read_bytes()) < 2.5e6


def test_the_hard_start_hardly_ever_reaches_the_target_but_can():
    policy, task = load_policy("tiny-hard"), Countdown(high=10)
    found = evaluate(policy.model, policy.tokenizer, task, task.problems("eval", 16, seed=11), samples=64, ks=(1, 64))
    assert found.pass_at_k[1] < 0.05
    assert found.pass_at_k[64] > 0.4


def test_loading_leaves_the_callers_randomness_alone():
    before = torch.get_rng_state()
    load_tiny()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_warm_start_script_writes_weights_that_load(tmp_path, monkeypatch, capsys):
    small = warmstart.Recipe({"width": 16, "layers": 1, "heads": 2, "hidden": 16}, 0.5)
    monkeypatch.setitem(warmstart.RECIPES, "tiny", small)
    out = tmp_path / "new" / "small.safetensors"
    warmstart.main(["--out", str(out), "--seed", "1", "--steps", "3", "--problems", "4"])
    assert "nats" in capsys.readouterr().out
    model, tokenizer = load_tiny(out)
    assert model.config.hidden_size == 16
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["settings"] == {"seed": 1, "steps": 3, "miss": 0.5}
    task = Countdown()
    start = measure_start(model, tokenizer, task, task.problems("eval", 4, seed=0), samples=16)
    assert start.entropy == pytest.approx(record["start"]["entropy"], abs=1e-4)


def test_training_sees_no_held_out_problem():
    trained_on = {p.prompt for p in warmstart.training_problems(seed=0)}
    assert not trained_on & {p.prompt for p in Countdown().problems("eval", 400, seed=0)}


def test_left_padding_does_not_change_a_policy():
    """Positions start at the first real token or not: rotary embeddings see differences only."""
    model, tokenizer = load_tiny()
    one = tokenizer("1 2 3>6:", return_tensors="pt")
    two = tokenizer(["1 2 3>6:", "1 2 3>60:"], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**one).logits[0, -1], model(**two).logits[0, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="warmstart"):
        load_tiny(path)
