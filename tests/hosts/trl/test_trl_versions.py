"""The seam in whatever TRL is installed: run by `make test-trl-versions` in an environment for each supported one."""

from __future__ import annotations

import math

import pytest
import torch
from hosts.trl.trl_case import exact_stats, history, policy, trainer, weights
from trl import GRPOTrainer, RLOOTrainer

import entrostat as es

pytestmark = [pytest.mark.filterwarnings("default")]

METHODS = [es.hold(target=1.0), es.flow(target=1.0), es.entropic(target=1.0), es.clip_v(mu=0.5)]


def controlled(method):
    return lambda cls: es.trl.controlled(cls, method)


def recording(cls):
    class Recorder(cls):
        def _compute_loss(self, model, inputs):
            state = {k: v.clone() for k, v in model.state_dict().items()}
            self.__dict__.setdefault("seen", []).append((dict(inputs), state))
            return super()._compute_loss(model, inputs)

    return Recorder


def exact_entropy(inputs, state, temperature):
    model = policy()
    model.load_state_dict(state)
    stats = exact_stats(model, inputs, temperature)
    return stats.entropy[inputs["completion_mask"].bool()].mean().item()


@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer], ids=lambda c: c.__name__)
def test_observing_changes_nothing(tmp_path, cls):
    plain = trainer(tmp_path / "a", cls, num_iterations=2)
    plain.train()
    watched = trainer(tmp_path / "b", cls, wrap=controlled(es.observe()), num_iterations=2)
    watched.train()
    torch.testing.assert_close(weights(plain.model), weights(watched.model), rtol=0, atol=1e-7)


@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer], ids=lambda c: c.__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_method_measures_the_exact_entropy(tmp_path, cls, method):
    run = trainer(tmp_path, recording(cls), wrap=controlled(method), max_steps=2, temperature=0.7)
    run.train()
    assert run.entropy_control.steps == 2
    exact = [exact_entropy(inputs, state, 0.7) for inputs, state in run.seen]
    assert history(run, "entropy_control/measured") == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer], ids=lambda c: c.__name__)
def test_the_temperature_moves_with_sampling_and_scoring(tmp_path, cls):
    heating = es.temperature(controller=-10.0, rate=0.02)
    run = trainer(tmp_path, recording(cls), wrap=controlled(heating), max_steps=2, temperature=0.8)
    run.train()
    exact = [exact_entropy(*seen, 0.8 * math.exp(0.2 * step)) for step, seen in enumerate(run.seen)]
    assert history(run, "entropy_control/measured") == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer], ids=lambda c: c.__name__)
def test_flow_is_written_out_in_the_gradient(tmp_path, cls):
    """A step of plain SGD under fixed weights is the step of the formula."""
    run = trainer(
        tmp_path, recording(cls), wrap=controlled(es.chain(es.methods.Flow(0.7, scope="micro"))), max_steps=1,
        optim="sgd", learning_rate=1e-3, max_grad_norm=1e9,
    )  # fmt: skip
    run.train()
    inputs, state = run.seen[0]
    model = policy()
    model.load_state_dict(state)
    stats, mask = exact_stats(model, inputs), inputs["completion_mask"].float()
    gain = inputs["advantages"].unsqueeze(1) * stats.detach().centered * mask
    weight = (1 + 0.7 * gain / (gain.square().sum() / mask.sum()).sqrt()).clamp(0, 5)
    token = weight * inputs["advantages"].unsqueeze(1) * stats.logp * mask
    # RLOO's loss is a mean over sequences, GRPO's default one over tokens.
    loss = -(token.sum(1).mean() if cls is RLOOTrainer else token.sum() / mask.sum())
    loss.backward()
    moved = weights(model) - weights(run.model)
    expected = torch.cat([p.grad.flatten() for p in model.parameters()]) * 1e-3
    torch.testing.assert_close(moved, expected, rtol=1e-2, atol=1e-6)
