"""The launch scripts of examples/verl: their configuration composed by verl, and validated by verl and by us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from environment import for_cpu
from omegaconf import OmegaConf

from entrostat.hosts.verl.settings import read_settings

EXAMPLES = Path(__file__).parents[4] / "examples" / "verl"
SCRIPTS = {
    "entropic_qwen3_8b.sh": ("entropic", 512, 8, {"path": "Qwen/Qwen3-8B-Base", "temperature": 0.6, "answers": 8192}),
    "clip_b_qwen25_7b.sh": (
        "clip_b",
        64,
        16,
        {"path": "Qwen/Qwen2.5-7B-Instruct", "temperature": 1.0, "answers": 7168},
    ),
    "clip_v_qwen25_7b.sh": ("clip_v", 64, 8, {"path": "Qwen/Qwen2.5-7B-Instruct", "temperature": 1.0, "answers": 7168}),
}


def composed(script):
    """verl's configuration as the script makes it: Hydra prints it instead of running."""
    environment = os.environ | for_cpu(os.environ) | {"PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(EXAMPLES / script), "--cfg", "job"], env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return OmegaConf.create(done.stdout[done.stdout.index("actor_rollout_ref:") :])


def test_every_script_is_tested():
    assert {path.name for path in EXAMPLES.glob("*_*.sh")} == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_configuration_is_valid_and_the_paper_s(script, monkeypatch):
    from entrostat.hosts.verl.__main__ import prepare

    name, prompts, rollouts, settings = SCRIPTS[script]
    config = composed(script)
    ours = read_settings(OmegaConf.to_container(config.entrostat))
    assert ours.method.name == name
    assert config.data.train_batch_size == config.actor_rollout_ref.actor.ppo_mini_batch_size == prompts
    assert config.actor_rollout_ref.rollout.n == rollouts
    assert config.actor_rollout_ref.model.path == settings["path"]
    assert config.actor_rollout_ref.rollout.temperature == settings["temperature"]
    assert config.data.max_response_length == settings["answers"]
    assert config.actor_rollout_ref.actor.optim.lr == 1e-6
    prepare(config)  # verl's own validation, and ours
    assert config.trainer.v1.trainer_mode == "entrostat_sync"
