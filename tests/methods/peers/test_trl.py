"""TRL 1.16's own entropy and its mask of uncertain tokens. Its losses are held to ours in tests/hosts/trl."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from methods.peers.released import EXACT, SEEDS, batch_of
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import entropy_from_logits

import entrostat as es

pytestmark = pytest.mark.parametrize("seed", SEEDS)


def test_entropy(seed: int) -> None:
    _, step = batch_of(seed)
    with torch.no_grad():
        theirs = entropy_from_logits(step.logits_BTV)
        ours = es.token_stats(step.logits_BTV, step.targets_BT, ["entropy"]).need("entropy")
    torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_uncertain_tokens(seed: int, share: float) -> None:
    batch, step = batch_of(seed)
    entropy = batch.stats.need("entropy").detach().float()  # in which both find their thresholds
    alone = SimpleNamespace(
        accelerator=SimpleNamespace(pad_across_processes=lambda values, **_: values, gather=lambda values: values)
    )
    theirs = GRPOTrainer.get_high_entropy_mask(alone, entropy, step.mask_BT, 1 - share)
    method = es.high_entropy_tokens(share=share, renormalize=False)
    ours = method.apply(es.ppo(batch), batch, method.init()).weight_BT
    assert torch.equal(ours[batch.mask].bool(), theirs[batch.mask])
