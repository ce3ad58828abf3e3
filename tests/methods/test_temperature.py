"""Temperature control: the plant that it makes, and a policy whose entropy it holds."""

from __future__ import annotations

import math

import pytest
import torch
from methods.cases import data

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.stats import token_stats
from entrostat.types import TokenBatch


def measured(control: EntropyControl, logits_BTV: torch.Tensor) -> dict[str, float]:
    """One step of a policy that is sampled at the controlled temperature."""
    step = data(0)
    stats = token_stats(logits_BTV, step.targets_BT, control.method.requires, temperature=control.temperature)
    batch = TokenBatch(stats, step.advantages_BT, torch.ones_like(step.mask_BT))
    surrogate = es.ppo(batch)
    assert control.apply(surrogate, batch) == surrogate
    return control.step()


def test_the_output_is_the_rate_of_the_log_temperature() -> None:
    control = EntropyControl(es.temperature(controller=2.0, rate=0.03))
    logits = data(0).logits_BTV.detach()
    for step in range(4):
        assert control.temperature == pytest.approx(math.exp(-0.06 * step), rel=1e-12)
        assert measured(control, logits)["entropy_control/temperature"] == pytest.approx(math.exp(-0.06 * step))


def test_limits_hold() -> None:
    for output, end in ((5.0, 0.9), (-5.0, 1.2)):
        control = EntropyControl(es.temperature(controller=output, rate=0.1, limits=(0.9, 1.2)))
        for _ in range(3):
            measured(control, data(0).logits_BTV.detach())
        assert control.temperature == pytest.approx(end)


def test_it_holds_the_entropy_of_a_policy_that_sharpens() -> None:
    """Logits that grow by 2 % a step: left alone, the entropy falls by more than half; held, the temperature grows as they do."""
    logits = 0.7 * data(0).logits_BTV.detach()
    start = measured(EntropyControl(es.observe()), logits)["token_entropy/mean"]
    control = EntropyControl(es.temperature(start))
    for step in range(60):
        metrics = measured(control, logits * 1.02**step)
    assert metrics["entropy_control/measured"] == pytest.approx(start, rel=0.03)
    assert control.temperature == pytest.approx(1.02**60, rel=0.06)
    assert measured(EntropyControl(es.observe()), logits * 1.02**60)["token_entropy/mean"] < 0.5 * start
