"""The first-order theory against exact tabular policies: right to first order means an error that shrinks fourfold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrostat import stats
from entrostat.errors import DataError
from entrostat.lab import TabularPolicy, group_advantages
from entrostat.stats import reference_stats

SEEDS = st.integers(0, 2**31 - 1)


def logits(seed: int, *shape: int, scale: float = 2.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def remainder_order(error_at) -> float:
    """log2 of how much the error shrinks when the step halves; 2 for an error of second order.

    1e-3 is small enough for the cubic term to hide and large enough for the remainder (about 1e-7) to stand far above the
    rounding of fp64.
    """
    large, small = error_at(1e-3), error_at(5e-4)
    return float(torch.log2(large.abs().sum() / small.abs().sum()))


def test_raising_one_logit() -> None:
    policy = TabularPolicy(logits(0, 16, 9))
    token = torch.arange(16) % 9
    unit = torch.nn.functional.one_hot(token, 9).double()

    def error(eps: float) -> torch.Tensor:
        exact = policy.moved(eps * unit).entropy_S - policy.entropy_S
        return exact - stats.change_from_raise(policy.logits_SV, token, eps)

    assert remainder_order(error) == pytest.approx(2, abs=0.02)


def test_any_nudge() -> None:
    policy, nudge = TabularPolicy(logits(1, 16, 9)), logits(2, 16, 9, scale=1.0)

    def error(eps: float) -> torch.Tensor:
        exact = policy.moved(eps * nudge).entropy_S - policy.entropy_S
        return exact - stats.entropy_change(policy.logits_SV, eps * nudge)

    assert remainder_order(error) == pytest.approx(2, abs=0.02)


def test_one_grpo_step() -> None:
    policy = TabularPolicy(logits(3, 16, 9))
    token = torch.arange(16) % 9
    advantage = logits(4, 16, scale=1.0)

    def error(lr: float) -> torch.Tensor:
        moved = policy.grpo_step(token.unsqueeze(1), advantage.unsqueeze(1), lr)
        return moved.entropy_S - policy.entropy_S - stats.change_from_grpo_step(policy.logits_SV, token, lr * advantage)

    assert remainder_order(error) == pytest.approx(2, abs=0.02)


def test_grpo_step_on_a_group_adds_up() -> None:
    policy, generator = TabularPolicy(logits(5, 8, 6)), torch.Generator().manual_seed(5)
    actions = policy.sample(32, generator)
    advantages = group_advantages((actions % 2).double())
    wide = policy.logits_SV.unsqueeze(1).expand(-1, 32, -1)

    def error(lr: float) -> torch.Tensor:
        exact = policy.grpo_step(actions, advantages, lr).entropy_S - policy.entropy_S
        return exact - stats.change_from_grpo_step(wide, actions, lr * advantages).mean(1)

    assert remainder_order(error) == pytest.approx(2, abs=0.02)


def test_discriminators_are_the_negative_entropy_gradient() -> None:
    z = logits(6, 5, 7).requires_grad_()
    stats.policy_entropy(z).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(stats.discriminators(z.detach()), -z.grad, atol=1e-14, rtol=1e-12)


@given(seed=SEEDS, size=st.integers(2, 40), scale=st.floats(0.0, 20.0))
@settings(max_examples=50, deadline=None)
def test_centered_discriminator_has_zero_mean(seed: int, size: int, scale: float) -> None:
    z = logits(seed, size, scale=scale)
    assert abs(float(stats.expected_centered(z))) < 1e-15 * size + 1e-14
    assert abs(float(stats.discriminators(z).sum())) < 1e-13


@given(seed=SEEDS, size=st.integers(2, 40), scale=st.floats(0.01, 20.0))
@settings(max_examples=50, deadline=None)
def test_typical_probability_is_where_the_discriminator_changes_sign(seed: int, size: int, scale: float) -> None:
    z = logits(seed, size, scale=scale)
    p, s, edge = torch.softmax(z, -1), stats.discriminators(z), stats.typical_probability(z)
    clear = (p / edge).log().abs() > 1e-9  # nearer than that, rounding decides
    assert torch.equal(s[clear].sign(), (p - edge)[clear].sign())
    assert p.min() <= edge * (1 + 1e-12) and edge <= p.max() * (1 + 1e-12)


def test_agrees_with_token_statistics() -> None:
    z, token = logits(7, 4, 11), torch.tensor([0, 3, 10, 5])
    found = reference_stats(z, token)
    torch.testing.assert_close(stats.change_from_raise(z, token, 0.3), -0.3 * found.discriminator)
    torch.testing.assert_close(stats.change_from_grpo_step(z, token, 0.3), -0.3 * found.centered)


def test_masked_vocabulary_is_as_if_it_were_not_there() -> None:
    z, token = logits(8, 3, 6), torch.tensor([0, 1, 2])
    masked = torch.cat([z, torch.full((3, 4), -torch.inf, dtype=z.dtype)], -1)
    torch.testing.assert_close(stats.centered_discriminators(masked)[:, :6], stats.centered_discriminators(z))
    assert (stats.discriminators(masked)[:, 6:] == 0).all()
    torch.testing.assert_close(
        stats.change_from_grpo_step(masked, token, 1.0), stats.change_from_grpo_step(z, token, 1.0)
    )


def test_shift_of_all_logits_changes_nothing() -> None:
    z = logits(9, 3, 6)
    torch.testing.assert_close(stats.entropy_change(z, torch.full_like(z, 5.0)), torch.zeros(3, dtype=z.dtype))
    torch.testing.assert_close(stats.discriminators(z + 7), stats.discriminators(z))


def test_uniform_policy_is_a_stationary_point() -> None:
    z = torch.zeros(5, dtype=torch.float64)
    assert stats.typical_probability(z) == pytest.approx(0.2)
    torch.testing.assert_close(stats.discriminators(z), torch.zeros_like(z), atol=1e-15, rtol=0)


def test_token_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(3,\).*\(2,\)"):
        stats.change_from_raise(torch.zeros(3, 4), torch.tensor([0, 1]), 0.1)
