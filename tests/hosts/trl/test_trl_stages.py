"""What a method of any stage wants of each token is what TRL's own loss does to it, clipped tokens left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from hosts.trl.trl_case import PROMPTS, history, trainer, watching, weights
from trl import GRPOTrainer, RLOOTrainer
from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

import entrostat as es
from entrostat.errors import HostError
from entrostat.methods.base import Link
from entrostat.methods.denominators import kept_push
from entrostat.methods.objectives import token_push
from entrostat.methods.record import Card
from entrostat.types import Form, Nucleus, Old

pytestmark = [pytest.mark.filterwarnings("default")]


def controlled(method):
    return lambda cls: es.trl.controlled(cls, method)


def steps(directory, method, cls=GRPOTrainer, **settings):
    """A run of a few steps off-policy, with what the method made of each micro-batch."""
    settings = {"num_iterations": 2, "max_steps": 2, "learning_rate": 3e-2} | settings
    run = trainer(directory, watching(cls), wrap=controlled(method), **settings)
    seen, apply = [], run.entropy_control.apply

    def spy(surrogate, batch):
        changed = apply(surrogate, batch)
        seen.append((batch, changed))
        return changed

    run.entropy_control.apply = spy
    run.train()
    return run, seen


def per_token(push_BT, mask, mean):
    """A push under a mean over tokens, or over each sequence's tokens and then over sequences, or over sequences of sums."""
    if mean == "token":
        return push_BT * mask / mask.sum()
    if mean == "fixed":
        return push_BT * mask / len(mask)
    return push_BT * mask / mask.sum(1, keepdim=True) / len(mask)


LOSSES = {
    "dapo": ({"loss_type": "dapo"}, "token"),
    "dapo with a second clip": ({"loss_type": "dapo", "delta": 1.5}, "token"),
    "grpo": ({"loss_type": "grpo"}, "sequence"),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.2}, "token"),
    "sapo": ({"loss_type": "sapo"}, "sequence"),
    "gspo": ({"loss_type": "dapo", "importance_sampling_level": "sequence"}, "token"),
    "a second clip inside the first": ({"loss_type": "dapo", "delta": 1.1, "epsilon_high": 0.28}, "token"),
    "cispo of sequences": (
        {"loss_type": "cispo", "importance_sampling_level": "sequence", "epsilon_high": 1.01},
        "token",
    ),
    "sapo of sequences": ({"loss_type": "sapo", "importance_sampling_level": "sequence"}, "sequence"),
    "vespo": ({"loss_type": "vespo"}, "token"),
    "stale rows left out": ({"loss_type": "dapo", "off_policy_mask_threshold": 0.01}, "token"),
    "rloo": ({"cls": RLOOTrainer, "learning_rate": 1e-2}, "fixed"),
    "gmpo": ({"cls": GMPOTrainer, "make_config": GMPOConfig}, "sequence"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "method", [es.observe(), es.chain(es.methods.Flow(0.7, scope="micro"))], ids=["observe", "flow"]
)
def test_the_method_sees_and_weights_the_push_of_the_loss(tmp_path, name, method):
    """Clipped tokens flow nowhere: TRL's own backward pass against the objective that the method was shown."""
    settings, mean = LOSSES[name]
    run, seen = steps(tmp_path, method, **settings)
    (batch, changed), push = seen[1], run.pushes[1]
    assert (batch.ratio[batch.mask] - 1).abs().max() > 0.2  # the second update of the batch is off-policy
    expected = per_token(token_push(changed, batch), batch.mask, mean)
    if name in ("dapo", "grpo"):
        assert (expected[batch.mask & (batch.advantages_BT != 0)] == 0).any()  # the clip has stopped some
    torch.testing.assert_close(push * batch.mask, expected, rtol=2e-3, atol=1e-6)


def test_stale_rows_are_left_out_by_the_advantages_that_they_train_on(tmp_path):
    def by_prompt(prompts, **_):
        return [float(PROMPTS.index(p) > 3) for p in prompts]

    settings = {"off_policy_mask_threshold": 1e-3, "learning_rate": 1e-3}
    run, seen = steps(tmp_path, es.w_reinforce(), reward=by_prompt, **settings)
    (batch, changed), push = seen[1], run.pushes[1]
    # The groups are all right or all wrong, so the host has no advantages.
    assert (batch.advantages_BT == 0).all()
    assert ((changed.advantages_BT < 0) & batch.mask & batch.stale_B.unsqueeze(1)).any()
    expected = per_token(kept_push(changed, batch), batch.mask, "token")
    assert (expected != 0).any()
    torch.testing.assert_close(push * batch.mask, expected, rtol=2e-3, atol=1e-6)


@dataclass(frozen=True)
class Cubic(Form):
    """A loss of a token that nobody uses: its slope is not that of a clipped ratio."""

    def loss(self, log_ratio_BT, advantages_BT, eps_low, eps_high, dual_clip):
        return -advantages_BT * (log_ratio_BT + log_ratio_BT**3 / 3)


@dataclass(frozen=True)
class Reform(Link):
    """Another loss of a token."""

    card: ClassVar[Card] = Card("reform", writes=("form",))

    def apply(self, surrogate, batch, state):
        return replace(surrogate, form=Cubic())


@dataclass(frozen=True)
class Sloped(Link):
    """Advantages that differ from token to token, also where the host's are 0."""

    card: ClassVar[Card] = Card("sloped", writes=("advantages_BT",))

    def apply(self, surrogate, batch, state):
        position = torch.arange(batch.mask.shape[1], dtype=torch.float32)
        return replace(surrogate, advantages_BT=surrogate.advantages_BT * 0.5 - 0.1 + 0.3 * position)


@pytest.mark.parametrize("method", [Reform(), Sloped()], ids=lambda m: m.name)
@pytest.mark.parametrize("name", ["dapo", "grpo"])
def test_a_clipped_loss_carries_any_push(tmp_path, method, name):
    settings, mean = LOSSES[name]
    run, seen = steps(tmp_path, method, **settings)
    for (batch, changed), push in zip(seen, run.pushes, strict=True):
        expected = per_token(token_push(changed, batch), batch.mask, mean)
        torch.testing.assert_close(push * batch.mask, expected, rtol=2e-3, atol=1e-6)
    assert run.epsilon_low == run.epsilon_high == 0.2  # put back


def test_what_a_loss_cannot_carry_is_refused(tmp_path):
    with pytest.raises(HostError, match=r"'reform' needs a change of form, which .*rloo.* cannot express"):
        trainer(tmp_path, RLOOTrainer, wrap=controlled(Reform()))
    run = trainer(tmp_path, RLOOTrainer, wrap=controlled(Sloped()))
    with pytest.raises(HostError, match="takes one advantage per sequence"):
        # A group of equal rewards has advantages of 0, which no weight makes another.
        run.reward_funcs = [lambda prompts, completions, **_: [1.0] * len(completions)]
        run.train()


@dataclass(frozen=True)
class Shift(Link):
    """A reward stage that reads all it can: longer completions get less, unlikely ones more, the shortest row goes."""

    card: ClassVar[Card] = Card("shift", writes=("advantages", "rows"), of_rollouts=("logp", Nucleus(0.8)))

    def score(self, rollouts, state):
        SEEN.append(rollouts)
        keep = rollouts.lengths_B > rollouts.lengths_B.min()
        advantages = rollouts.advantages_B - 0.1 * rollouts.mean("logp") - 0.01 * rollouts.lengths_B
        return rollouts.replace(advantages=advantages + rollouts.mean(Nucleus(0.8)), keep_B=keep)


SEEN: list = []


@pytest.mark.parametrize("iterations", [1, 2], ids=["no old pass", "old pass"])
@pytest.mark.parametrize("cls", [GRPOTrainer, RLOOTrainer], ids=lambda c: c.__name__)
def test_the_reward_stage_sees_whole_groups(tmp_path, cls, iterations):
    SEEN.clear()
    rewards = lambda prompts, completions, **_: [None if i == 3 else float(i % 2) for i in range(len(completions))]  # noqa: E731
    _, seen = steps(tmp_path, Shift(), cls, num_iterations=iterations, max_steps=1, reward=rewards)
    (rollouts,), (batch, changed) = SEEN, seen[0]
    assert rollouts.groups_B.tolist() == [0] * 4 + [1] * 4
    assert rollouts.scored.tolist() == [i != 3 for i in range(8)]
    assert (rollouts.step, rollouts.total_steps) == (0, 1)
    # Nothing was updated: the sampling policy is the one that the loss measures, row by row in TRL's shuffled order.
    assert sorted(rollouts.need("logp").tolist()) == pytest.approx(
        sorted((batch.stats.logp.detach() * batch.mask).sum(1).tolist()), rel=1e-4
    )
    keep = rollouts.lengths_B > rollouts.lengths_B.min()
    wanted = (
        rollouts.advantages_B - 0.1 * rollouts.mean("logp") - 0.01 * rollouts.lengths_B + rollouts.mean(Nucleus(0.8))
    )
    lengths = rollouts.lengths_B.float()
    kept_share = keep.float().mean() if cls is RLOOTrainer else (lengths * keep).sum() / lengths.sum()
    wanted = (wanted * keep / kept_share).masked_fill(~rollouts.scored, 0)
    assert sorted(changed.advantages_BT[:, 0].tolist()) == pytest.approx(sorted(wanted.tolist()), rel=1e-4, abs=1e-6)
    assert sorted(batch.groups_B.tolist()) == rollouts.groups_B.tolist()
    assert batch.rewards_B.isnan().sum() == 1


@dataclass(frozen=True)
class Reader(Link):
    """Reads statistics with a parameter, and those of the policy that sampled."""

    card: ClassVar[Card] = Card("reader", want=(Nucleus(0.8), Old("entropy"), Old(Nucleus(0.8))))

    def measure(self, surrogate, batch, state):
        READ.append(tuple(batch.need(want).clone() for want in ("entropy", *self.card.want)))
        return {}


READ: list = []


def test_the_old_policy_is_measured_where_it_differs(tmp_path):
    READ.clear()
    run, _ = steps(tmp_path, Reader())
    (now, nucleus, old, old_nucleus), (now_2, nucleus_2, old_2, old_nucleus_2) = READ
    mask = run.logp != 0
    torch.testing.assert_close(now[mask], old[mask], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(nucleus[mask], old_nucleus[mask], rtol=1e-3, atol=1e-4)
    assert (nucleus <= now + 1e-5).all()
    assert torch.equal(old_2, old) and torch.equal(old_nucleus_2, old_nucleus)
    assert (now_2 - old_2).abs().max() > 1e-3 and (nucleus_2 - old_nucleus_2).abs().max() > 1e-3


def test_published_methods_of_every_kind_run(tmp_path):
    for method in (es.make("kl_cov"), es.make("entropy_advantage"), es.make("nsr")):
        run, _ = steps(tmp_path / method.name, method)
        assert run.entropy_control.steps == 2
        assert torch.isfinite(weights(run.model)).all()
        assert len(history(run, "entropy_control/measured")) == 2
