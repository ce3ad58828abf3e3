"""Under `use_vllm`: what is measured is what the engine sampled from, and its importance correction stays TRL's own."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hosts.trl.trl_case import history, trainer, watching
from hosts.trl.vllm_case import Engine, standing_in
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es
from entrostat.errors import HostError
from entrostat.methods.positive_weight import PositiveWeight

pytestmark = [pytest.mark.filterwarnings("default")]
MODES = ("colocate", "server")
DIFFERENCE = "sampling/sampling_logp_difference/max"


def controlled(method):
    return lambda cls: es.trl.controlled(cls, method)


def trained(tmp_path, monkeypatch, mode, engine, method, cls=GRPOTrainer, **settings):
    with standing_in(monkeypatch, mode, engine) as how:
        run = trainer(tmp_path, cls, wrap=controlled(method), **(how | settings))
        run.train()
    return run


SAMPLING = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 3},
    "top_p": {"top_p": 0.7, "temperature": 1.2},
    "min_p": {"min_p": 0.1},
    "top_k and top_p": {"top_k": 5, "top_p": 0.8},
    "temperature by another door": {"generation_kwargs": {"temperature": 0.5}},
    "top_k by another door": {"generation_kwargs": {"top_k": 2}},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SAMPLING)
def test_the_entropy_is_that_of_what_the_engine_sampled_from(tmp_path, monkeypatch, mode, name):
    engine = Engine()
    run = trained(tmp_path, monkeypatch, mode, engine, es.hold(1.0), max_steps=3, **SAMPLING[name])
    measured = history(run, "entropy_control/measured")
    assert engine.synchronized == 3 and len(set(engine.entropies)) == 3  # each step from new weights
    assert measured == pytest.approx(engine.entropies, rel=1e-4)
    if name in ("plain", "temperature"):  # where what is sampled from is the softmax that TRL scores
        assert max(history(run, DIFFERENCE)) < 1e-4


@pytest.mark.parametrize("mode", MODES)
def test_rloo_too(tmp_path, monkeypatch, mode):
    engine = Engine()
    run = trained(tmp_path, monkeypatch, mode, engine, es.flow(1.0), RLOOTrainer, max_steps=2, temperature=0.8)
    assert history(run, "entropy_control/measured") == pytest.approx(engine.entropies, rel=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_a_commanded_temperature_reaches_the_engine_and_the_correction(tmp_path, monkeypatch, mode):
    """Sampled, scored and measured at one temperature; evaluation at the run's own."""
    engine = Engine()
    heating = es.temperature(controller=-10.0, rate=0.02)
    with standing_in(monkeypatch, mode, engine) as how:
        run = trainer(tmp_path, wrap=controlled(heating), max_steps=3, temperature=0.8, **how)
        run.train()
        run.evaluate(run.train_dataset)
    commanded = [0.8 * math.exp(0.2 * step) for step in range(3)]
    asked = [params.temperature for params in engine.asked]
    assert asked[:3] == pytest.approx(commanded) and set(asked[3:]) == {0.8}
    assert history(run, "entropy_control/measured") == pytest.approx(engine.entropies[:3], rel=1e-4)
    assert max(history(run, DIFFERENCE)) < 1e-4


CORRECTIONS = {
    "token_truncate": {"vllm_importance_sampling_clip_max": 1.05},
    "token_mask": {"vllm_importance_sampling_clip_max": 1.1, "vllm_importance_sampling_clip_min": 0.9},
    "sequence_truncate": {"vllm_importance_sampling_clip_max": 1.2},
    "sequence_mask": {"vllm_importance_sampling_clip_max": 1.5, "vllm_importance_sampling_clip_min": 0.7},
}


@pytest.mark.parametrize("correction", [*CORRECTIONS, None])
def test_a_methods_weights_and_the_correction_multiply(tmp_path, monkeypatch, correction):
    """An engine of lower precision: each token's push is TRL's, corrected in its own mode, times the method's weight."""
    settings = {"max_steps": 1, "vllm_importance_sampling_correction": correction is not None}
    if correction is not None:
        settings |= {"vllm_importance_sampling_mode": correction, **CORRECTIONS[correction]}
    pushes, ratios = {}, {}
    for method in (es.observe(), PositiveWeight(0.25)):
        engine = Engine(skewed=0.2)
        run = trained(
            tmp_path / type(method).__name__, monkeypatch, "colocate", engine, method, watching(First), **settings
        )
        name = type(method).__name__
        pushes[name], batch = run.pushes[0], run.batch
        ratios[name] = batch.get("importance_sampling_ratio")
    plain, weighted = pushes.values()
    weight = torch.where(batch["advantages"] > 0, 0.25, 1.0).unsqueeze(1).expand_as(plain)
    assert (batch["advantages"] > 0).any() and plain.abs().max() > 0
    torch.testing.assert_close(weighted, plain * weight, atol=1e-7, rtol=1e-5)
    if correction is None:
        assert ratios["Chain"] is None
        return
    ratio = ratios["Chain"]
    assert ratio.shape[1] == (1 if correction.startswith("sequence") else plain.shape[1])
    assert len(ratio.unique()) > 2 and (("mask" not in correction) or (ratio == 0).any())
    if "mask" in correction:
        assert (plain[(ratio == 0).expand_as(plain)] == 0).all()


class First(GRPOTrainer):
    """Keeps the batch of the last loss."""

    def _compute_loss(self, model, inputs):
        self.batch = dict(inputs)
        return super()._compute_loss(model, inputs)


def test_observing_changes_nothing(tmp_path, monkeypatch):
    found = []
    for wrap in (None, controlled(es.observe())):
        with standing_in(monkeypatch, "server", Engine(skewed=0.1)) as how:
            run = trainer(tmp_path, wrap=wrap, max_steps=2, **how)
            run.train()
        found.append(torch.cat([weight.detach().flatten() for weight in run.model.parameters()]))
    assert torch.equal(*found)


@pytest.mark.parametrize("cooled", [1.0, 0.5])
def test_an_engine_that_samples_from_something_else_is_found_out(tmp_path, monkeypatch, cooled):
    """The entropy is then not of what acts; the sampled tokens' surprisal says so."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = trained(
            tmp_path, monkeypatch, "server", Engine(cooled=cooled), es.observe(), max_steps=6, learning_rate=0.0,
            per_device_train_batch_size=16, num_generations=8, max_completion_length=16,
        )  # fmt: skip
    errors = history(run, "entropy_control/sampling_gap_errors")[-1]
    assert errors < -8 if cooled < 1 else abs(errors) < 5
    assert any("the sampled tokens" in str(each.message) for each in said) == (cooled < 1)
    assert (max(history(run, DIFFERENCE)) > 0.1) == (cooled < 1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"repetition_penalty": 1.2}, "sampled with repetition_penalty=1.2"),
        ({"top_p": 0.9, "min_p": 0.1}, "vLLM applies min_p=0.1 before"),
        ({"generation_kwargs": {"presence_penalty": 0.5}}, "sampled with presence_penalty=0.5"),
        ({"generation_kwargs": {"logit_bias": {3: 2.0}}}, "sampled with logit_bias"),
        ({"vllm_structured_outputs_regex": "[0-9]+"}, "sampled with structured_outputs"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path, monkeypatch, settings, named):
    with standing_in(monkeypatch, "colocate", Engine()) as how, pytest.raises(HostError, match=named):
        trainer(tmp_path, wrap=controlled(es.observe()), **(how | settings))


@pytest.mark.parametrize("options", [{"logprobs": 3}, {"n": 2}])
def test_answers_that_trl_would_misread_are_refused(tmp_path, monkeypatch, options):
    """Of several log-probabilities of a position TRL takes the first, the likeliest token's."""
    with pytest.raises(HostError, match="under use_vllm"):
        trained(tmp_path, monkeypatch, "colocate", Engine(), es.hold(1.0), generation_kwargs=options)
