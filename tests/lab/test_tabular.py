from __future__ import annotations

import pytest
import torch

from entrostat.errors import DataError
from entrostat.lab import TabularPolicy, group_advantages
from entrostat.stats import centered_discriminators


def policy(states: int = 4, arms: int = 5, seed: int = 0) -> TabularPolicy:
    return TabularPolicy(torch.randn(states, arms, generator=torch.Generator().manual_seed(seed)))


def test_expected_step_climbs_the_expected_reward() -> None:
    start, rewards = policy(), torch.rand(4, 5, generator=torch.Generator().manual_seed(1))
    z = start.logits_SV.clone().requires_grad_()
    (torch.softmax(z, -1) * rewards).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(start.expected_step(rewards, 0.3).logits_SV, start.logits_SV + 0.3 * z.grad)


def test_sampled_step_is_the_expected_one_on_average() -> None:
    start, rewards = policy(), torch.rand(4, 5, generator=torch.Generator().manual_seed(1)).double()
    actions = start.sample(400_000, torch.Generator().manual_seed(2))
    advantages = rewards.gather(1, actions) - (start.probs_SV * rewards).sum(1, keepdim=True)
    sampled = start.grpo_step(actions, advantages, 1.0).logits_SV
    torch.testing.assert_close(sampled, start.expected_step(rewards, 1.0).logits_SV, atol=2e-3, rtol=0)


def test_weights_scale_each_action() -> None:
    start, actions = policy(1), torch.tensor([[0, 3]])
    advantages = torch.tensor([[1.0, -2.0]])
    weighted = start.grpo_step(actions, advantages, 0.5, torch.tensor([[1.0, 0.0]]))
    # The dropped action still counts in the mean: a weight of 0 is not a smaller group.
    alone = start.grpo_step(actions[:, :1], advantages[:, :1], 0.25)
    torch.testing.assert_close(weighted.logits_SV, alone.logits_SV)


def test_group_advantages_by_hand() -> None:
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), eps=0.0 + 1e-4)
    expected = 0.5 / (3**-0.5 + 1e-4)
    torch.testing.assert_close(advantages[0], torch.tensor([1.0, -1.0, -1.0, 1.0]).double() * expected)
    assert (advantages[1] == 0).all()


def test_one_state_and_bad_shapes() -> None:
    assert TabularPolicy(torch.zeros(3)).entropy_S.item() == pytest.approx(torch.log(torch.tensor(3.0)).item())
    with pytest.raises(DataError, match=r"\(1, 2, 3\)"):
        TabularPolicy(torch.zeros(1, 2, 3))
    with pytest.raises(DataError, match="at least 2"):
        group_advantages(torch.zeros(3, 1))
    with pytest.raises(DataError, match="advantages"):
        policy().grpo_step(torch.zeros(4, 2, dtype=torch.long), torch.zeros(4, 3), 0.1)


@pytest.mark.parametrize("solve_rate_seed", range(5))
def test_sign_reweighting_moves_the_flow_by_its_imbalance_alone(solve_rate_seed: int) -> None:
    """docs/theory.md: with weights 1 + u on A > 0 and 1 - u on A < 0 the expected flow is (1 + u (1 - 2 q)) times itself."""
    generator = torch.Generator().manual_seed(solve_rate_seed)
    start = TabularPolicy(torch.randn(8, generator=generator))
    correct = (torch.rand(8, generator=generator) < 0.4).double()
    correct[0], correct[1] = 1.0, 0.0
    p, centered, u = start.probs_SV[0], centered_discriminators(start.logits_SV)[0], 0.8
    q = (p * correct).sum()
    advantage = (correct - q) / (q * (1 - q)).sqrt()
    weight = 1 + u * advantage.sign()
    plain, weighted = -(p * advantage * centered).sum(), -(p * weight * advantage * centered).sum()
    torch.testing.assert_close(weighted, (1 + u * (1 - 2 * q)) * plain)
