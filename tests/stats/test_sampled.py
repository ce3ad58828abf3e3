from __future__ import annotations

import pytest
import torch

from entrostat.stats import sampled_entropy, token_stats


def test_mean_surprisal_of_masked_tokens() -> None:
    logp = torch.tensor([[-1.0, -3.0], [-5.0, -100.0]])
    assert sampled_entropy(logp, torch.tensor([[1, 1], [1, 0]])) == pytest.approx(3)
    assert sampled_entropy(logp, torch.ones(2, 2), torch.tensor([[2.0, 0.0], [0.0, 0.02]])) == pytest.approx(1)


def test_padding_may_hold_anything_and_an_empty_mask_is_nan() -> None:
    logp = torch.tensor([[-1.0, torch.nan, -torch.inf]])
    assert sampled_entropy(logp, torch.tensor([[1, 0, 0]])) == 1
    assert sampled_entropy(logp, torch.zeros(1, 3)).isnan()


def test_unbiased_on_and_off_policy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, behavior = torch.randn(2, 6, generator=generator)
    count = 200_000
    everywhere = torch.ones(1, count)

    def logp_of(z: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(z, -1)[tokens].unsqueeze(0)

    exact = token_stats(logits, torch.tensor(0)).need("entropy").item()
    own = torch.multinomial(logits.softmax(-1), count, replacement=True, generator=generator)
    assert sampled_entropy(logp_of(logits, own), everywhere).item() == pytest.approx(exact, abs=0.02)
    other = torch.multinomial(behavior.softmax(-1), count, replacement=True, generator=generator)
    logp, old = logp_of(logits, other), logp_of(behavior, other)
    assert sampled_entropy(logp, everywhere, (logp - old).exp()).item() == pytest.approx(exact, abs=0.05)
