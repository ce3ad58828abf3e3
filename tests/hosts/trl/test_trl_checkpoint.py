"""The controller's state in TRL's checkpoints: saved inside, restored or refused, never lost."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch
from hosts.trl.trl_case import history, trainer, weights
from transformers import TrainerCallback

import entrostat as es
from entrostat.errors import StateError

pytestmark = [pytest.mark.filterwarnings("default")]

FLOW = es.flow(target=1.0)
KEYS = ("entropy_control/measured", "entropy_control/output", "loss", "reward", "grad_norm")


def controlled(method=FLOW, **options):
    return lambda cls: es.trl.controlled(cls, method, **options)


def saved(tmp_path, steps=4, **settings):
    run = trainer(tmp_path, wrap=controlled(), save_strategy="steps", save_steps=2, max_steps=steps, **settings)
    run.train()
    return run


@pytest.mark.parametrize("settings", [{}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, settings):
    whole = saved(tmp_path / "whole", **settings)
    first = saved(tmp_path / "broken", steps=2, **settings)
    assert first.state.global_step == 2
    rest = trainer(tmp_path / "broken", wrap=controlled(), save_strategy="steps", save_steps=2, max_steps=4, **settings)
    rest.train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-2"))
    assert rest.entropy_control.state == whole.entropy_control.state
    assert torch.equal(weights(rest.model), weights(whole.model))
    for key in KEYS:
        assert history(rest, key)[-2:] == history(whole, key)[-2:], key


def test_a_checkpoint_without_state_is_refused(tmp_path):
    plain = trainer(tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    plain.train()
    run = trainer(tmp_path, wrap=controlled(), max_steps=4)
    with pytest.raises(StateError, match="resume_state='fresh'"):
        run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    run = trainer(tmp_path, wrap=controlled(resume_state="fresh"), max_steps=4)
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert run.entropy_control.steps == 2


def test_another_method_s_state_is_refused(tmp_path):
    saved(tmp_path, steps=2)
    run = trainer(tmp_path, wrap=controlled(es.flow(target=1.1)), max_steps=4)
    with pytest.raises(StateError, match="another method or other settings"):
        run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_a_corrupted_state_is_refused(tmp_path):
    saved(tmp_path, steps=2)
    (tmp_path / "checkpoint-2" / "entrostat_state.json").write_text('{"schema": 1, "finge')
    run = trainer(tmp_path, wrap=controlled(), max_steps=4)
    with pytest.raises(StateError, match="cannot be read"):
        run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_a_full_disk_loses_no_checkpoint(tmp_path, monkeypatch):
    """Even with one checkpoint kept at most: the old one is removed only after the new one is whole."""
    run = trainer(tmp_path, wrap=controlled(), save_strategy="steps", save_steps=2, max_steps=6, save_total_limit=1)
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: _no_space() if run.state.global_step == 4 else sync(fd))
    with pytest.raises(OSError, match="No space left"):
        run.train()
    monkeypatch.undo()
    good = tmp_path / "checkpoint-2"
    assert json.loads((good / "entrostat_state.json").read_text())["steps"] == 2
    assert not (tmp_path / "checkpoint-4" / "trainer_state.json").exists()
    again = trainer(tmp_path, wrap=controlled(), max_steps=3)
    again.train(resume_from_checkpoint=str(good))
    assert again.entropy_control.steps == 3


def _no_space():
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_state_file_is_readable_by_people(tmp_path):
    saved(tmp_path, steps=2)
    record = json.loads((tmp_path / "checkpoint-2" / "entrostat_state.json").read_text())
    assert record["method"]["name"] == "flow"
    assert record["state"][0]["knobs"]["u"]["steps"] == 2


def test_a_run_that_broke_off_within_a_step_leaves_nothing_of_it(tmp_path):
    class Stop(TrainerCallback):
        def on_substep_end(self, args, state, control, **_):
            control.should_training_stop = self.stops
            self.stops = False

        stops = True

    run = trainer(
        tmp_path,
        wrap=controlled(es.observe()),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=1,
    )
    run.add_callback(Stop())
    run.train()
    assert run.entropy_control.steps == 0
    added, apply = [], run.entropy_control.apply

    def counting(surrogate, batch):
        added.append(int(batch.mask.sum()))
        return apply(surrogate, batch)

    run.entropy_control.apply = counting
    run.train()
    assert history(run, "token_entropy/tokens") == [sum(added)]
