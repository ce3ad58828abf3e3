"""The part of the entropy that comes from the visited states, on a policy whose every sequence can be written down."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from entrostat.attribution.prediction import MicroBatch, before_step
from entrostat.attribution.visited import entropy_to_go, visited_change
from entrostat.errors import DataError
from entrostat.stats import token_stats
from entrostat.stats.first_order import policy_entropy
from entrostat.types import TokenStats

# Two steps: the first token 0 ends the sequence, 1 and 2 lead to a state of their own. Probabilities in eighths, so 64
# sequences hold every one exactly as often as it is likely: their mean is the expectation.
FIRST = (2, 5, 1)
SECOND = {1: (3, 3, 2), 2: (1, 1, 6)}


def table():
    eighths = torch.tensor([FIRST, SECOND[1], SECOND[2]], dtype=torch.float64)
    return (eighths / 8).log().requires_grad_()


def all_sequences():
    """States and tokens (64, 2), mask (64, 2)."""
    states, tokens, mask = [], [], []
    for first, often in enumerate(FIRST):
        for second, times in enumerate(SECOND[first] if first else (8, 0, 0)):
            count = Fraction(often * times, 1)
            for _ in range(int(count)):
                states.append([0, first])
                tokens.append([first, second])
                mask.append([True, first > 0])
    assert len(states) == 64
    return torch.tensor(states), torch.tensor(tokens), torch.tensor(mask)


def expected(logits):
    """E[sum_t H_t] / E[T], exactly."""
    p, entropy = logits.detach().softmax(-1), policy_entropy(logits.detach())
    return float((entropy[0] + p[0, 1:] @ entropy[1:]) / (1 + p[0, 1:].sum()))


@pytest.mark.parametrize("direction", range(4))
def test_the_total_is_the_change_of_the_expected_entropy(direction):
    logits = table()
    states, tokens, mask = all_sequences()

    def evaluate():
        return token_stats(logits[states], tokens, {"logp", "entropy", "baseline"})

    torch.manual_seed(direction)
    logits.grad = torch.randn(3, 3, dtype=torch.float64)
    optimizer = torch.optim.SGD([logits], lr=1e-6)
    batch = MicroBatch(evaluate, mask, torch.zeros(64, 2), torch.zeros(64, 1))
    look = before_step([batch], optimizer)
    before = expected(logits)
    assert look.entropy == pytest.approx(before, rel=1e-12)
    optimizer.step()
    change = expected(logits) - before
    found = look.after_step(shares=None, visited_states=True)
    # What is left is of second order in a step of 1e-6.
    assert found.predicted + found.visited_states == pytest.approx(change, abs=1e-11)
    assert found.predicted == pytest.approx(found.measured, abs=1e-11)
    assert abs(found.visited_states) > 5e-10


@pytest.mark.parametrize("labels", [True, False])
def test_a_sample_estimates_it_without_bias(labels):
    """Over many small samples the mean is the exact value, with the baseline as without, and the errors are honest."""
    logits = table().detach()
    torch.manual_seed(0)
    moved = logits + 1e-4 * torch.randn(3, 3, dtype=torch.float64)
    states, tokens, mask = all_sequences()

    def change(rows, prompts):
        before, after = (token_stats(z[states[rows]], tokens[rows], {"logp", "entropy"}) for z in (logits, moved))
        return visited_change([(mask[rows], prompts, before, after)], expected(logits))

    exact = change(torch.arange(64), None)[0]
    draws = [change(torch.randint(64, (256,)), [i // 16 for i in range(256)] if labels else None) for _ in range(300)]
    values, errors = (torch.tensor(column) for column in zip(*draws, strict=True))
    assert float(values.mean()) == pytest.approx(exact, abs=4 * float(values.std()) / 300**0.5)
    # Rows of a group share a baseline, so their standard error is a little off.
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15)


def test_entropy_to_go():
    entropy = torch.tensor([[1.0, 2.0, 4.0, 9.0]])
    mask = torch.tensor([[1, 1, 1, 0]])
    assert entropy_to_go(entropy, mask, 1.5).tolist() == [[3.0, 2.5, 0.0, 0.0]]


def test_the_last_tokens_lead_nowhere():
    """One-token sequences visit one state each: nothing changes."""
    torch.manual_seed(0)
    before, after = (TokenStats(logp=torch.randn(6, 1), entropy=torch.rand(6, 1)) for _ in range(2))
    assert visited_change([(torch.ones(6, 1), None, before, after)], 0.3) == (0.0, 0.0)


def test_an_empty_mask_is_refused():
    stats = TokenStats(logp=torch.zeros(2, 1), entropy=torch.zeros(2, 1))
    with pytest.raises(DataError, match="mask is empty"):
        visited_change([(torch.zeros(2, 1), None, stats, stats)], 0.0)
