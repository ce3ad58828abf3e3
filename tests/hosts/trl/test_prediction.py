"""The prediction inside TRL: it trains the same policy, sees the whole optimizer step, and costs nothing where it is off."""

from __future__ import annotations

import json

import pytest
import torch
from hosts.trl.prediction_processes_case import main
from hosts.trl.trl_case import digits, history, policy, trainer, weights
from ranks import on_ranks
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es
from entrostat.errors import ConfigError, HostError
from entrostat.hosts.trl.prediction import predicted
from entrostat.stats.summarize import QUADRANTS

pytestmark = [pytest.mark.filterwarnings("default")]

BOTH = es.chain(es.flow(target=1.0), es.entropy_bonus(0.01))
PARTS = (*QUADRANTS, "neutral", "bonus", "carried", "decay", "rest")


def found(run):
    """Every prediction in the run's log."""
    prefix = "entropy_prediction/"
    rows = [{k.removeprefix(prefix): v for k, v in e.items() if k.startswith(prefix)} for e in run.state.log_history]
    return [row for row in rows if row]


def controlled(every=0, method=BOTH, **options):
    if options:
        return lambda cls: es.trl.controlled(predicted(cls, every, **options), method)
    return lambda cls: es.trl.controlled(cls, method, predict_every=every)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "steps_per_generation": 2},
    ],
    ids=["whole", "accumulation", "off-policy"],
)
@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer])
def test_the_same_policy_is_trained(tmp_path, cls, settings):
    plain = trainer(tmp_path / "a", cls, wrap=controlled(), **settings)
    plain.train()
    asked = trainer(tmp_path / "b", cls, wrap=controlled(1, nodes=1, visited_states=True), **settings)
    asked.train()
    assert torch.equal(weights(plain.model), weights(asked.model))
    assert len(found(asked)) == 3 and not found(plain)
    assert asked.model.training == plain.model.training


@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_predicts_what_happens_and_adds_up(tmp_path, cls, accumulation):
    settings = {"weight_decay": 0.1, "max_grad_norm": 0.5, "learning_rate": 2e-4, "max_steps": 4}
    batch = {"per_device_train_batch_size": 16 // accumulation, "gradient_accumulation_steps": accumulation}
    run = trainer(tmp_path, cls, wrap=controlled(1, nodes=1), **settings, **batch)
    run.train()
    rows = found(run)
    assert len(rows) == 4
    for row in rows:
        gross = sum(abs(row[name]) for name in PARTS)
        assert sum(row[name] for name in PARTS) == pytest.approx(row["integrated"], rel=1e-6)
        assert abs(row["rest"]) < 1e-3 * gross
        assert row["integrated"] == pytest.approx(
            row["measured_same_batch"], abs=0.02 * abs(row["measured_same_batch"]) + 2e-5
        )
        assert row["decay"] != 0 and row["bonus"] > 0
    assert rows[0]["carried"] == 0 and all(row["carried"] for row in rows[1:])
    measured = history(run, "entropy_control/measured")
    assert [row["before"] for row in rows] == pytest.approx(measured, rel=1e-5)


def test_micro_batches_make_no_difference(tmp_path):
    runs = []
    for accumulation in (1, 4):
        batch = {"per_device_train_batch_size": 16 // accumulation, "gradient_accumulation_steps": accumulation}
        runs.append(trainer(tmp_path / str(accumulation), wrap=controlled(1), max_steps=1, learning_rate=1e-4, **batch))
        runs[-1].train()
    (whole,), (split,) = map(found, runs)
    gross = sum(abs(whole[name]) for name in PARTS)
    for name, value in whole.items():
        if name != "seconds":
            assert split[name] == pytest.approx(value, abs=2e-3 * gross), name


def test_works_without_control_and_only_where_due(tmp_path):
    counts = []
    for wrap in (None, lambda cls: predicted(cls, 2)):
        run = trainer(tmp_path / str(len(counts)), wrap=wrap, max_steps=4)
        calls = []
        run.model.model.register_forward_hook(lambda *_, run=run, calls=calls: calls.append(run.state.global_step))
        run.train()
        counts.append([calls.count(step) for step in range(4)])
    plain, asked = counts
    assert [step for step in range(4) if asked[step] != plain[step]] == [0, 2]
    assert len(found(run)) == 2


def test_control_without_prediction_is_the_trainer_it_was():
    assert es.trl.controlled(GRPOTrainer, BOTH).__bases__[1] is GRPOTrainer


def test_the_logit_level_beside_it_is_the_methods_own(tmp_path):
    run = trainer(tmp_path, wrap=controlled(1, es.flow(target=1.0)), max_steps=3)
    run.train()
    flow = history(run, "entropy_control/predicted")
    assert [row["logit_level"] for row in found(run)] == pytest.approx(flow, rel=1e-4)


def test_contributions_by_prompt(tmp_path):
    rows = []
    run = trainer(tmp_path, wrap=controlled(1, on_prompts=rows.append), max_steps=2)
    run.train()
    for number, (row, metrics) in enumerate(zip(rows, found(run), strict=True), start=1):
        assert json.loads(json.dumps(row)) == row and row["step"] == number
        assert len(row["prompts"]) == 2 and all("<pad>" not in each["prompt"] for each in row["prompts"])
        tokens = sum(metrics[name] for name in (*QUADRANTS, "neutral", "bonus"))
        assert sum(each["contribution"] for each in row["prompts"]) == pytest.approx(tokens, abs=1e-9)


def test_half_precision_takes_backward_passes(tmp_path):
    run = trainer(tmp_path, wrap=controlled(1), max_steps=1, learning_rate=1e-4, bf16=True)
    run.train()
    (row,) = found(run)
    gross = sum(abs(row[name]) for name in PARTS)
    assert run._shares == "backward"
    assert abs(row["rest"]) < 0.05 * gross


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"bf16": True}, "need one process and fp32"), ({"fp16": True}, "fp16's scaled gradients")],
)
def test_what_cannot_be_predicted_is_refused(tmp_path, settings, message):
    with pytest.raises(HostError, match=message):
        trainer(tmp_path, wrap=controlled(1, on_prompts=print), **settings)


def test_every_is_checked():
    with pytest.raises(ConfigError, match=r"at least 1 .* got -1"):
        predicted(GRPOTrainer, -1)
    for wrong in (1.5, "2", True):
        with pytest.raises(ConfigError, match=f"every must be a whole number .* got {wrong!r}"):
            controlled(wrong)(GRPOTrainer)
    with pytest.raises(ConfigError, match="got 9"):
        predicted(GRPOTrainer, 1, nodes=9)


def test_a_batch_without_spread_is_moved_by_momentum_alone(tmp_path):
    def reward(prompts, completions, **_):
        return digits(prompts, completions) if run.state.global_step == 0 else [1.0] * len(completions)

    run = trainer(tmp_path, wrap=controlled(1, es.observe()), reward=reward, max_steps=2, model=policy())
    run.train()
    _, row = found(run)
    assert all(row[name] == 0 for name in (*QUADRANTS, "neutral", "bonus", "logit_level"))
    assert row["carried"] == pytest.approx(row["predicted"], rel=1e-4)


def test_two_processes_predict_what_one_does(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = main(str(tmp_path / "one"), 8)
    on_ranks(2, main, str(tmp_path / "two"), 4, variables={"ACCELERATE_USE_CPU": "true"})
    two = json.loads((tmp_path / "two" / "predictions.json").read_text())
    assert len(one) == len(two) == 2
    for row, other in zip(one, two, strict=True):
        gross = sum(abs(row[f"entropy_prediction/{name}"]) for name in PARTS)
        for name in row.keys() - {"entropy_prediction/seconds"}:
            assert other[name] == pytest.approx(row[name], abs=2e-3 * gross), name
