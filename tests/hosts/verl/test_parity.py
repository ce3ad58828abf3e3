"""The same batch and method through TRL's adapter and through verl's arithmetic: the same weights, step by step."""

from __future__ import annotations

import json

import pytest
import torch
from hosts.verl.parity_case import FILE, METHODS, method, through_trl

from entrostat.core.control import EntropyControl
from entrostat.hosts.verl.batch import control_batch
from entrostat.types import TokenBatch, TokenStats

TOLERANCE = 1e-5
RECORDED = json.loads(FILE.read_text())


@pytest.mark.parametrize("name", METHODS)
def test_verl_s_weights_are_those_that_trl_s_adapter_used(name):
    case = RECORDED[name]
    stats = TokenStats(**{n: torch.tensor(v) for n, v in case["stats"].items()})
    batch = TokenBatch(stats, torch.tensor(case["advantages"]), torch.tensor(case["mask"]))
    control = EntropyControl(method(name))
    for expected in case["weights"]:
        update = control_batch(control, batch, "token-mean", (0.2, 0.2))
        weight = torch.where(batch.mask, update.advantages_BT / batch.advantages_BT, 0)
        expected = torch.tensor(expected).masked_fill(~batch.mask, 0)
        assert (weight - expected).abs().max() < TOLERANCE
        assert (expected[batch.mask] - 1).abs().max() > 0.05  # it does something


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", METHODS)
def test_the_recorded_weights_are_trl_s(name):
    pytest.importorskip("trl", reason="runs TRL's trainer")
    now = through_trl(name)
    assert torch.allclose(torch.tensor(now["weights"]), torch.tensor(RECORDED[name]["weights"]), atol=TOLERANCE)
    assert now["mask"] == RECORDED[name]["mask"]
