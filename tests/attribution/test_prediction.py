"""The prediction in parameter space: it is what happens, and its parts add up to it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from attribution.prediction_case import Net, backward, data, flat, step

from entrostat.attribution.displacement import can_split, moves, parameters_of
from entrostat.attribution.prediction import MicroBatch, before_step
from entrostat.attribution.shares import by_backward, by_difference
from entrostat.errors import ConfigError, DataError
from entrostat.stats import token_stats

LR = 1e-3
OPTIMIZERS = {
    "sgd": lambda p, lr=LR: torch.optim.SGD(p, lr=lr),
    "momentum": lambda p, lr=LR: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p, lr=LR: torch.optim.SGD(
        p, lr=lr, momentum=0.9, nesterov=True, weight_decay=0.1, maximize=True
    ),
    "adam": lambda p, lr=LR: torch.optim.Adam(p, lr=lr, weight_decay=0.1),
    "amsgrad": lambda p, lr=LR: torch.optim.Adam(p, lr=lr, amsgrad=True, maximize=True, weight_decay=0.1),
    "adamw": lambda p, lr=LR: torch.optim.AdamW(p, lr=lr, weight_decay=0.1),
    "fused": lambda p, lr=LR: torch.optim.AdamW(p, lr=lr, weight_decay=0.1, fused=True),
}
OLD_STEPS = 2  # for momentum to carry something over


def trained(name, lr=LR, **options):
    """A policy and an optimizer a few steps into a run."""
    net = Net(**options)
    optimizer = OPTIMIZERS[name](net.parameters(), lr)
    for seed in range(1, 1 + OLD_STEPS):
        step(net, optimizer, data(seed), shares=None)
    return net, optimizer


def gross(found):
    """The size of what adds up, before it cancels."""
    return sum(abs(v) for v in [*found.quadrants.values(), found.neutral, found.bonus, found.carried, found.decay])


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_displacement_is_its_causes(name, clip):
    net, optimizer = trained(name)
    checked = []

    def check(look):
        for move, before, parameter in zip(
            moves(optimizer, look.before), look.before, look.recomputed.parameters, strict=True
        ):
            if move is None:
                assert torch.equal(parameter, before)
                continue
            parts = move.gain * parameter.grad + move.carried + move.decay
            torch.testing.assert_close(parameter.detach() - before, parts, rtol=1e-8, atol=1e-13)
            checked.append(parameter)

    step(net, optimizer, data(), clip=clip, between=check)
    assert len(checked) == 5


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_account_adds_up_to_the_prediction(name, clip, parts):
    net, optimizer = trained(name)
    found = step(net, optimizer, data(), parts, bonus=0.1, clip=clip)
    assert abs(found.rest) < 1e-8 * gross(found)
    tokens = sum(found.quadrants.values()) + found.neutral + found.bonus
    assert sum(found.prompts.values()) == pytest.approx(tokens, rel=1e-9)
    assert found.positive + found.negative == pytest.approx(sum(found.quadrants.values()), rel=1e-12)
    assert found.neutral == 0  # without advantage there is no push
    assert abs(found.carried) > 0.01 * gross(found) or name == "sgd"
    assert abs(found.decay) > 0 or name == "sgd"
    assert abs(found.bonus) > 0


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_first_and_second_order(name):
    """Halving the step quarters the error of the plain prediction, and divides that of one node by eight."""
    errors = []
    for lr in (4e-3, 2e-3, 1e-3):
        scale = 50 if name == "sgd" else 1
        net = Net()
        found = step(net, OPTIMIZERS[name](net.parameters(), lr * scale), data(), nodes=1, shares=None)
        errors.append([abs(found.measured - found.predicted), abs(found.measured - found.integrated)])
    for coarse, fine in itertools.pairwise(errors):
        assert coarse[0] / fine[0] == pytest.approx(4, rel=0.2)
        assert coarse[1] / fine[1] == pytest.approx(8, rel=0.2)


@pytest.mark.parametrize("shares", ["difference", "backward"])
def test_along_a_long_step_the_account_is_of_what_was_measured(shares):
    net, optimizer = trained("adamw")
    for group in optimizer.param_groups:
        group["lr"] = 0.05
    found = step(net, optimizer, data(), 2, bonus=0.1, clip=0.05, nodes=3, shares=shares)
    assert abs(found.predicted - found.measured) > 0.1 * abs(found.measured)
    assert found.integrated == pytest.approx(found.measured, rel=1e-3)
    parts = sum(found.quadrants.values()) + found.neutral + found.bonus + found.carried + found.decay
    assert parts == pytest.approx(found.integrated, rel=1e-6)


def test_measured_is_the_change_of_the_same_tokens():
    net, optimizer = trained("adamw", lr=1e-5)
    on = data()

    def mean():
        entropy = token_stats(net(on.contexts), on.tokens, {"entropy"}).entropy
        return entropy[on.mask].mean().item()

    before = mean()
    found = step(net, optimizer, on, parts=3)
    assert found.before == pytest.approx(before, rel=1e-12)
    assert found.measured == pytest.approx(mean() - before, rel=1e-9)
    assert found.predicted == pytest.approx(found.measured, rel=0.01)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_micro_batches_make_no_difference(name):
    whole, split = (step(*trained(name), data(), parts, bonus=0.1, clip=0.05, nodes=1) for parts in (1, 4))
    assert whole.metrics().keys() == split.metrics().keys()
    for key, value in whole.metrics().items():
        if key != "rest":
            assert split.metrics()[key] == pytest.approx(value, rel=1e-6, abs=1e-12), key
    assert split.prompts == pytest.approx(whole.prompts, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_differences_give_what_a_backward_pass_per_group_gives(name):
    net, optimizer = trained(name)
    one = step(net, optimizer, data(), 2, bonus=0.1, clip=0.05)
    net, optimizer = trained(name)
    other = step(net, optimizer, data(), 2, bonus=0.1, clip=0.05, shares="backward")
    for key, value in one.metrics().items():
        assert other.metrics()[key] == pytest.approx(value, abs=1e-8 * gross(one)), key
    assert other.prompts == {}


def test_contributions_by_prompt_are_those_of_a_batch_of_that_prompt():
    net, optimizer = trained("adamw")
    on = data()
    kept = {}

    def check(look):
        direction, *_ = look._split(look.gradient)
        _, kept["all"] = by_difference(look.recomputed, look.before, look.stats, direction, 1.0)
        (batch,) = look.recomputed.batches
        for prompt in set(on.prompts):
            other = torch.tensor([label != prompt for label in on.prompts])
            alone = MicroBatch(
                batch.evaluate, batch.mask_BT & ~other.unsqueeze(1), batch.push_logp_BT, batch.advantages_BT
            )
            kept[prompt] = by_backward(
                type(look.recomputed)([alone], look.recomputed.parameters), look.before, look.stats, direction, 1.0
            )

    step(net, optimizer, on, between=check)
    assert len(kept["all"]) == 6
    for prompt, value in kept["all"].items():
        assert value == pytest.approx(sum(kept[prompt].values()), rel=1e-6, abs=1e-12)


def test_single_precision_is_good_enough():
    net, optimizer = trained("adamw", dtype=torch.float32)
    found = step(net, optimizer, data(), bonus=0.1, clip=0.05)
    net, optimizer = trained("adamw", dtype=torch.float32)
    exact = step(net, optimizer, data(), bonus=0.1, clip=0.05, shares="backward")
    for key, value in exact.quadrants.items():
        assert found.quadrants[key] == pytest.approx(value, abs=1e-3 * gross(exact))
    assert abs(found.rest) < 1e-3 * gross(found)


def test_a_table_moved_by_plain_descent_is_the_logit_level_theory():
    """With one state per token nothing is shared: the prediction is the step size times the flow."""
    torch.manual_seed(0)
    table = torch.randn(6, 4, 7, dtype=torch.float64, requires_grad=True)
    tokens, advantages = torch.randint(7, (6, 4)), torch.randn(6, 1, dtype=torch.float64)

    def evaluate():
        return token_stats(table, tokens, {"logp", "entropy", "baseline"})

    optimizer = torch.optim.SGD([table], lr=1e-3)
    stats = evaluate()
    stats.logp.retain_grad()
    (-(advantages * stats.logp).mean()).backward()
    batch = MicroBatch(evaluate, torch.ones(6, 4), stats.logp.grad, advantages)
    look = before_step([batch], optimizer)
    optimizer.step()
    found = look.after_step()
    flow = -(advantages * stats.detach().centered).mean().item()
    assert found.logit_level == pytest.approx(flow, rel=1e-12)
    assert found.predicted == pytest.approx(1e-3 / 24 * flow, rel=1e-9)
    assert found.bonus == found.carried == found.decay == 0


def test_parameters_and_gradients_are_left_alone():
    net, optimizer = trained("adamw")
    kept = {}

    def keep(look):
        parameters = look.recomputed.parameters
        kept["now"] = flat(parameters), flat([p.grad for p in parameters if p.grad is not None])

    step(net, optimizer, data(), clip=0.05, between=keep, nodes=1, visited_states=True)
    assert torch.equal(kept["now"][0], flat(list(net.parameters())))
    assert torch.equal(kept["now"][1], flat([p.grad for p in net.parameters() if p.grad is not None]))


def test_without_any_advantage_only_momentum_and_decay_move_it():
    net, optimizer = trained("adamw")
    on = data()
    on.advantages.zero_()
    found = step(net, optimizer, on)
    assert set(found.quadrants.values()) == {0.0}
    assert found.predicted == pytest.approx(found.carried + found.decay, rel=1e-9)


class Signs(torch.optim.Adam):
    """An optimizer of one's own, by inheritance."""

    @torch.no_grad()
    def step(self):
        for p in parameters_of(self):
            if p.grad is not None:
                p.sub_(1e-3 * p.grad.sign())


@pytest.mark.parametrize("make", [Signs, lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, dampening=0.1)])
def test_other_optimizers_are_predicted_but_not_split(make):
    net = Net()
    optimizer = make(net.parameters())
    found = step(net, optimizer, data())
    assert found.predicted == pytest.approx(found.measured, rel=0.2)
    assert not can_split(optimizer)
    assert found.quadrants == {} and "carried" not in found.metrics()
    with pytest.raises(ConfigError, match="cannot be split"):
        list(moves(optimizer, []))


@pytest.mark.parametrize("nodes", [-1, 4])
def test_there_are_at_most_three_nodes(nodes):
    net = Net()
    with pytest.raises(ConfigError, match=f"got {nodes}"):
        step(net, torch.optim.SGD(net.parameters(), lr=1e-3), data(), nodes=nodes)


def test_an_empty_step_has_no_entropy():
    net = Net()
    on = data()
    on.mask[:] = False
    batches = backward(net, on)
    with pytest.raises(DataError, match="mask is empty"):
        before_step(batches, torch.optim.SGD(net.parameters(), lr=1e-3))


def test_what_padding_holds_does_not_matter():
    net, optimizer = trained("adamw")
    on = data()
    one = step(net, optimizer, on).metrics()
    net, optimizer = trained("adamw")
    on = data()
    on.tokens[~on.mask] = 3
    on.contexts[~on.mask] = 1
    other = step(net, optimizer, on).metrics()
    assert all(math.isfinite(v) for v in one.values())
    assert other == pytest.approx(one, rel=1e-6, abs=1e-10)
