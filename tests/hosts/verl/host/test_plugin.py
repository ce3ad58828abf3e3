"""How verl finds the adapter, and what happens where it does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from environment import for_cpu


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | for_cpu(os.environ) | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_importing_verl_loads_next_to_nothing_of_ours():
    code = (
        "import sys, verl; ours = sorted(m for m in sys.modules if m.startswith('entrostat'));"
        "assert 'entrostat.hosts.verl.plugin' in ours and len(ours) == 4, ours"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr[-2000:]


def test_verl_s_own_main_finds_the_trainers():
    code = (
        "import verl; from verl.trainer.ppo.v1 import get_trainer_cls;"
        "print(get_trainer_cls('entrostat_sync').__name__, get_trainer_cls('entrostat_colocate_async').__name__)"
    )
    done = python("-c", code)
    assert done.stdout.split()[-2:] == ["ControlledSync", "ControlledColocateAsync"], done.stderr[-2000:]


def test_without_the_plugin_the_trainer_s_name_is_an_error():
    code = "import verl; from verl.trainer.ppo.v1 import get_trainer_cls; get_trainer_cls('entrostat_sync')"
    done = python("-c", code, VERL_USE_EXTERNAL_PLUGINS="none")
    assert done.returncode != 0 and "Unknown trainer 'entrostat_sync'" in done.stderr


def test_trainers_that_fail_to_load_are_an_error():
    code = "import sys, verl; sys.modules['entrostat.hosts.verl.trainer'] = None;import verl.trainer.ppo.v1"
    done = python("-c", code)
    assert done.returncode != 0 and "entrostat.hosts.verl.trainer" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ((), "entrostat.method"),
        (("+entrostat.method=observe", "actor_rollout_ref.rollout.name=vllm"), "ppo_micro_batch_size"),
        (("+entrostat.method=observe", "trainer.v1.trainer_mode=separate_async"), "entrostat_sync"),
        (("+entrostat.method=nsr", "actor_rollout_ref.actor.entropy_coeff=0.1"), "entropy_bonus"),
        (("+entrostat.method=qae",), "algorithm.adv_estimator=gae gives each token its own"),  # verl's default
    ],
    ids=["no method", "verl's own check", "trainer", "rival", "estimator"],
)
def test_our_main_says_what_is_wrong_before_it_starts_anything(overrides, named, tmp_path):
    done = python("-m", "entrostat.hosts.verl", f"hydra.run.dir={tmp_path}", *overrides)
    assert done.returncode != 0 and named in done.stderr, done.stderr[-2000:]
    assert "ray init" not in done.stdout
