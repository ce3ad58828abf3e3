"""Authority: the predicted change of entropy, against brute force and against exact tabular policies."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from methods.cases import Data, apply, data, totals_of
from methods.test_golden import Numbers, ppo_slope
from torch import Tensor

import entrostat as es
from entrostat.control import PI, SelfTuning, Step
from entrostat.core.control import EntropyControl
from entrostat.methods import Chain
from entrostat.stats import policy_entropy, token_stats
from entrostat.stats.summarize import summarize
from entrostat.types import Divisors, TokenBatch, TokenStats

KEYS = ("predicted", "uncontrolled", "authority_low", "authority_high", "authority")


def loop(low: float = -1.0, high: float = 1.0) -> PI:
    return PI(0.3, 2.0, 0.1, (low, high), start=0.5 * (low + high))


WEIGHTINGS: list[tuple[str, dict[str, Any], tuple[float, float]]] = [
    ("flow", {}, (-1.5, 1.5)),
    ("flow", {"scope": "micro", "w_max": 2.0}, (-4.0, 3.0)),
    ("flow", {"shape": "cost", "samples": "negative"}, (-2.0, 1.5)),
    ("flow", {"shape": "sign"}, (-1.5, 0.5)),
    ("entropic", {"normalizer": "all", "threshold": 0.4}, (-1.0, 1.0)),
    ("entropic", {"normalizer": "all", "select": "discriminator"}, (-3.0, 0.5)),
    ("entropic", {"normalizer": "selected", "threshold": 0.4}, (-1.0, 0.8)),
    ("entropic", {"normalizer": "selected", "select": "all"}, (-1.0, 1.0)),
    ("clip_b", {}, (0.1, 3.0)),
    ("clip_v", {"scope": "micro", "largest_share": 0.2}, (0.1, 3.0)),
]


def controlled(name: str, options: dict[str, Any], knob: Any) -> Chain:
    return es.make(name, **options, **{"mu" if name.startswith("clip") else "controller": knob})


def brute_force(chain: Chain, memory: Any, step: Data) -> float:
    """Sum over tokens of (minus the loss's slope in log p) times the effect of that slope: -sum_t (-dL/dlogp_t) D_t.

    It knows nothing of weights: whatever the method did to the loss is in the slope.
    """
    stats = token_stats(step.logits_BTV.detach(), step.targets_BT, chain.requires)
    leaf = stats.need("logp").requires_grad_()
    batch = TokenBatch(dataclasses.replace(stats, logp=leaf), step.advantages_BT, step.mask_BT)
    state = chain.init()
    state = (type(state[0])(state[0].knobs, memory),)
    surrogate = chain.apply(es.ppo(batch), batch, state)
    (slope,) = torch.autograd.grad(es.loss(surrogate, batch), leaf)
    return float((slope * stats.centered.detach()).sum())


@pytest.mark.parametrize(("name", "options", "limits"), WEIGHTINGS)
def test_the_predicted_range_is_what_the_limits_give(
    name: str, options: dict[str, Any], limits: tuple[float, float]
) -> None:
    control = EntropyControl(controlled(name, options, loop(*limits)))
    for seed in range(3):
        step = data(seed, on_policy=True)
        state = control.state[0]
        apply(control, step)
        metrics = control.step()
        ends = [brute_force(controlled(name, options, end), state.memory, step) for end in limits]
        present = brute_force(controlled(name, options, state.knobs.popitem()[1].output), state.memory, step)
        values = {key: metrics[f"entropy_control/{key}"] for key in KEYS}
        assert values["authority_low"] == pytest.approx(ends[0], rel=1e-9, abs=1e-14)
        assert values["authority_high"] == pytest.approx(ends[1], rel=1e-9, abs=1e-14)
        assert values["predicted"] == pytest.approx(present, rel=1e-9, abs=1e-14)
        assert values["authority"] == pytest.approx(abs(ends[1] - ends[0]), rel=1e-9, abs=1e-14)
        assert values["uncontrolled"] == pytest.approx(plain(step))
    assert values["authority"] > 0


@pytest.mark.parametrize("objective", [es.grpo, es.gspo, es.ppo])
@pytest.mark.parametrize(
    "method",
    [
        es.flow(controller=loop(-1.5, 1.5)),
        es.clip_b(loop(0.1, 3.0)),
        es.hold(controller=SelfTuning(0.3, limits=(-0.5, 0.5))),
        es.entropic(controller=loop(-1.0, 0.8), normalizer="selected", threshold=0.4),
    ],
)
def test_unequal_micro_batches_count_as_the_loss_counts_them(method: Chain, objective: Any) -> None:
    """Of short rows and long ones apart: a mean over sequences counts micro-batches by their rows, one over tokens by tokens,
    and a term with a mean of its own counts each once."""
    whole = data(5)
    short = whole.mask_BT.sum(1) <= 3
    parts = [whole.rows(short), whole.rows(~short)]
    sizes = [(int(part.mask_BT.sum()), len(part.mask_BT)) for part in parts]
    assert sizes[0][0] / sizes[0][1] < 0.7 * sizes[1][0] / sizes[1][1] and sizes[0][1] != sizes[1][1]
    parts.append(
        whole.rows(short).replace(mask_BT=torch.zeros_like(whole.mask_BT[short]))
    )  # it has no token, and no vote
    control = EntropyControl(method)
    for seed in (0, 1):
        apply(control, data(seed), objective)
        if not seed:
            control.step()
    control.discard()
    state = control.state

    def exact(state: Any, acts: bool = True) -> float:
        """The slope of the step's loss, micro-batch by micro-batch, times the effect of the push that it is."""
        step, total = es.StepSize.of(part.mask_BT for part in parts), 0.0
        for part in parts:
            stats = token_stats(part.logits_BTV.detach(), part.targets_BT, control.method.requires)
            leaf = stats.need("logp").requires_grad_()
            batch = TokenBatch(
                dataclasses.replace(stats, logp=leaf), part.advantages_BT, part.mask_BT, part.old_logp_BT
            )
            surrogate = control.method.apply(objective(batch), batch, state) if acts else objective(batch)
            terms = [term for term in surrogate.terms if term.of == "entropy"]
            surrogate = dataclasses.replace(surrogate, terms=tuple(t for t in surrogate.terms if t.of != "entropy"))
            (slope,) = torch.autograd.grad(es.loss(surrogate, batch, step), leaf)
            total += float((slope * stats.centered.detach()).sum())
            seen = batch.stats.detach()
            for term in terms:  # a bonus moves the logits along the entropy's own gradient
                gain = batch.ratio.detach() * seen.prob * (seen.entropy + seen.logp).square()
                total -= term.coef * float(gain[batch.mask].sum()) / step.tokens
        return total

    def at(output: float) -> Any:
        return tuple(
            dataclasses.replace(own, knobs={k: dataclasses.replace(v, output=output) for k, v in own.knobs.items()})
            for own in state
        )

    for part in parts:
        apply(control, part, objective)
    metrics = {key: value for key, value in control.step().items() if key.removeprefix("entropy_control/") in KEYS}
    limits = next(iter(control.method.links[0].feedback.values())).limits
    expected = [exact(state), exact(state, acts=False), *(exact(at(end)) for end in limits)]
    assert metrics["entropy_control/authority"] > 0
    assert [metrics[f"entropy_control/{key}"] for key in KEYS[:4]] == pytest.approx(expected, rel=1e-9, abs=1e-14)


def plain(step: Data) -> float:
    batch = step.batch()
    return float(-(batch.advantages_BT * batch.stats.detach().centered)[batch.mask].mean())


@pytest.mark.parametrize("flow_first", [True, False])
def test_the_prediction_is_of_the_whole_chain(flow_first: bool) -> None:
    links = [es.flow(controller=loop(), scope="micro"), es.clip_v(0.5, scope="micro", largest_share=0.2)]
    chain = es.chain(*(links if flow_first else links[::-1]))
    state = tuple(dataclasses.replace(own, knobs={k: halfway(v) for k, v in own.knobs.items()}) for own in chain.init())
    step = data(4, on_policy=True)
    stats = token_stats(step.logits_BTV.detach(), step.targets_BT, ("logp", "entropy", "baseline"))
    leaf = stats.need("logp").requires_grad_()
    batch = TokenBatch(TokenStats(leaf, stats.entropy, stats.baseline), step.advantages_BT, step.mask_BT)
    surrogate = chain.apply(es.ppo(batch), batch, state)
    assert surrogate.keep_BT is not None and surrogate.weight_BT is not None
    (slope,) = torch.autograd.grad(es.loss(surrogate, batch), leaf)
    whole = float((slope * stats.centered.detach()).sum())
    _, metrics = chain.update(state, totals_of(chain, state, batch))
    assert metrics["predicted"] == pytest.approx(whole, rel=1e-9)
    assert metrics["uncontrolled"] == pytest.approx(plain(step), rel=1e-9)
    assert abs(metrics["predicted"] - plain(step)) > 1e-6


def halfway(state: Any) -> Any:
    """The same state with an output of 0.5, which is also the clip's mu."""
    return dataclasses.replace(state, output=0.5)


def test_a_knob_without_feedback_commands_no_range() -> None:
    control = EntropyControl(es.flow(controller=0.5))
    for seed in (0, 1):
        apply(control, data(seed))
        metrics = control.step()
    assert "entropy_control/authority" not in metrics
    assert metrics["entropy_control/predicted"] != metrics["entropy_control/uncontrolled"]


@pytest.mark.parametrize("name", ["flow", "entropic"])
def test_infinite_limits_have_a_number(name: str) -> None:
    control = EntropyControl(es.make(name, target=0.3, kp=1.0, limits=(-math.inf, math.inf)))
    for seed in (0, 1):
        apply(control, data(seed))
        metrics = control.step()
    assert math.isfinite(metrics["entropy_control/authority"])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    u=st.floats(-5, 5),
    w_max=st.floats(1.1, 20),
    scale=st.floats(0.1, 6),
    on_policy=st.booleans(),
    scope=st.sampled_from(["step", "micro"]),
    shape=st.sampled_from(["flow", "cost", "sign"]),
    samples=st.sampled_from(["all", "positive", "negative"]),
)
def test_flow_never_has_the_wrong_sign(
    seed: int, u: float, w_max: float, scale: float, on_policy: bool, scope: Any, shape: Any, samples: Any
) -> None:
    """u > 0 never predicts more entropy than no control, u < 0 never less, clipped or not, on-policy or not."""
    method = es.flow(controller=u, w_max=w_max, scope=scope, shape=shape, samples=samples)
    control = EntropyControl(method)
    for offset in (0, 1):
        apply(control, data(seed + offset, on_policy=on_policy, scale=scale))
        metrics = control.step()
    change = metrics["entropy_control/predicted"] - metrics["entropy_control/uncontrolled"]
    assert change * u <= 1e-15
    if abs(u) > 0.01:
        assert change != 0


# -- exact tabular policies --------------------------------------------------------------------------------------------


def bandit(seed: int, tokens: int, states: int, arms: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A table of logits (S, V), and sampled (state, action, advantage) of each token."""
    draw = torch.Generator().manual_seed(seed)
    table = 1.5 * torch.randn(states, arms, generator=draw, dtype=torch.float64)
    visited = torch.arange(tokens) % states
    actions = torch.multinomial(table.softmax(-1)[visited], 1, generator=draw).squeeze(1)
    advantages = torch.randn(tokens, generator=draw, dtype=torch.float64)
    return table, visited, actions, advantages


def moved(
    chain: Chain, state: Any, table: Tensor, visited: Tensor, actions: Tensor, advantages: Tensor, lr: float
) -> float:
    """Change of the mean entropy over the visited states under one step of gradient descent on the table."""
    leaf = table.clone().requires_grad_()
    stats = token_stats(leaf[visited].unsqueeze(1), actions.unsqueeze(1), ("logp", "entropy", "baseline"))
    batch = TokenBatch(stats, advantages.unsqueeze(1), torch.ones(len(visited), 1))
    (gradient,) = torch.autograd.grad(es.loss(chain.apply(es.ppo(batch), batch, state), batch), leaf)
    before, after = policy_entropy(table)[visited].mean(), policy_entropy(table - lr * gradient)[visited].mean()
    return float(after - before)


@pytest.mark.parametrize("states", [1, 24])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("observe", {}),
        ("flow", {"controller": 1.5, "scope": "micro"}),
        ("flow", {"controller": -1.5, "scope": "micro"}),
        ("entropic", {"controller": 0.8, "normalizer": "all", "threshold": 0.3}),
        ("entropic", {"controller": -0.8, "normalizer": "selected", "threshold": 0.3}),
        ("entropic", {"controller": 0.8, "normalizer": "all", "select": "discriminator"}),
    ],
)
def test_a_step_changes_entropy_as_predicted(name: str, options: dict[str, Any], states: int) -> None:
    """On a table, where a step at the logits is the whole update, dH = lr * predicted + O(lr^2).

    With one state every token moves the same logits and the mean over tokens is the change itself; where each token has
    a state of its own, each logit moves by 1/N of that and so does the mean.
    """
    tokens, chain = 24, es.make(name, **options)
    for seed in range(5):
        table, visited, actions, advantages = bandit(seed, tokens, states)
        stats = token_stats(table[visited].unsqueeze(1), actions.unsqueeze(1), ("logp", "entropy", "baseline"))
        batch = TokenBatch(stats, advantages.unsqueeze(1), torch.ones(tokens, 1))
        _, metrics = chain.update(chain.init(), totals_of(chain, chain.init(), batch))
        predicted = metrics.get("predicted", float(-(batch.advantages_BT * stats.centered).mean()))
        share = 1.0 if states == 1 else 1.0 / tokens
        # First order: halving lr must halve what is left over relative to lr.
        errors = [
            abs(moved(chain, chain.init(), table, visited, actions, advantages, lr) / (lr * share) - predicted)
            for lr in (2e-3, 1e-3, 5e-4)
        ]
        assert errors[2] < 2e-3
        for larger, smaller in itertools.pairwise(errors):
            assert smaller == pytest.approx(larger / 2, rel=0.05, abs=1e-8)


def test_control_moves_entropy_the_way_it_is_told() -> None:
    """The direction of the output is the direction of the entropy, for both weightings, on the mean over many draws."""
    for name in ("flow", "entropic"):
        options = {"scope": "micro"} if name == "flow" else {"normalizer": "all", "select": "discriminator"}
        changes = []
        for u in (-0.9, 0.0, 0.9):
            chain = es.make(name, controller=u, **options)
            total = sum(moved(chain, chain.init(), *bandit(seed, 32, 4), lr=0.05) for seed in range(20))
            changes.append(total / 20)
        assert changes[0] > changes[1] > changes[2]


def test_step_control_reports_authority_too() -> None:
    control = EntropyControl(es.flow(controller=Step(0.3, 0.1, (-0.5, 0.5), gated=False)))
    for seed in (0, 1):
        apply(control, data(seed))
        metrics = control.step()
    assert metrics["entropy_control/authority_low"] > metrics["entropy_control/authority_high"]


@pytest.mark.parametrize(
    "name", ["flow", "entropic", "clip_b", "clip_v", "nsr", "psr", "w_reinforce", "only_tokens", "observe"]
)
def test_every_method_with_the_baseline_predicts(name: str) -> None:
    options = {"target": 0.4} if name in ("flow", "entropic") else {}
    control = EntropyControl(es.make(name, **options))
    apply(control, data(0))
    metrics = control.step()
    assert {f"entropy_control/{k}" for k in ("predicted", "uncontrolled")} <= metrics.keys()
    assert ("entropy_control/authority" in metrics) == bool(options)


def test_authority_of_reward_weights_is_that_of_the_controlled_knob() -> None:
    """Between its limits, the advantage of correct samples spans 1, that of wrong ones stays: brute force."""
    limits = (0.0, 1.0)
    control = EntropyControl(es.w_reinforce(positive=PI(0.4, kp=0.1, limits=limits)))
    step = data(3)
    batch = step.batch(control.method.requires)
    control.apply(es.ppo(batch), batch)
    metrics = control.step()
    x = Numbers(step)
    for limit, key in zip(limits, ("authority_low", "authority_high"), strict=True):
        # The clip stops tokens of either sign at their own end. Rows of weight 0 leave the mean.
        change = x.mean(ppo_slope(x, limit * x.reward[:, None] - (1 - x.reward[:, None])) * x.d)
        if limit == 0:
            change *= x.mask.sum() / x.mask[x.reward == 0].sum()
        assert metrics[f"entropy_control/{key}"] == pytest.approx(change, rel=1e-4)


def test_the_sampled_tokens_tell_what_a_bonus_does() -> None:
    """Over all k, p_k (H + log p_k)^2 has the mean |S|^2: what the entropy gains by a unit step along its own gradient."""
    torch.manual_seed(0)
    logits_V = (2 * torch.randn(7, dtype=torch.float64)).requires_grad_()
    logp_V = logits_V.log_softmax(0)
    (along_V,) = torch.autograd.grad(-(logp_V.exp() * logp_V).sum(), logits_V)
    tokens = torch.arange(7)
    stats = token_stats(logits_V.detach().expand(1, 7, 7), tokens[None], ("logp", "entropy", "baseline"))
    control = SelfTuning(1.0, limits=(-0.5, 0.5))
    mean = 0.0
    for k in tokens:
        one = TokenStats(*(getattr(stats, name)[:, k : k + 1] for name in ("logp", "entropy", "baseline")))
        batch = TokenBatch(one, torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool))
        chain = es.entropy_bonus(control)
        sums = chain.links[0].measure(es.ppo(batch), batch, chain.init()[0])
        mean += float(logp_V[k].detach().exp()) * float(sums["high"] - sums["low"])
    assert mean == pytest.approx(float(along_V.square().sum()), rel=1e-9)  # limits are one unit apart


def test_a_controlled_bonus_says_what_it_commands() -> None:
    control = EntropyControl(es.entropy_bonus(SelfTuning(0.3, limits=(-0.5, 0.5))))
    for seed in (0, 1):
        apply(control, data(seed))
        metrics = control.step()
    assert metrics["entropy_control/authority"] > 0
    assert metrics["entropy_control/authority_low"] < metrics["entropy_control/uncontrolled"]
    assert control.state[0].knobs["coef"].unit > 0
    assert "baseline" not in es.entropy_bonus(0.01).requires


@pytest.mark.parametrize(("name", "times"), [("entropy_bonus", 4.0), ("flow", 1.0)])
def test_a_loss_that_divides_by_more_leaves_a_term_more_to_say(name: str, times: float) -> None:
    """A loss of a quarter of the size: what scales with it has the effect that it had, and a term four times as much."""
    control = SelfTuning(0.3, limits=(-0.5, 0.5))
    chain = es.chain(es.methods.Flow(control) if name == "flow" else es.entropy_bonus(control))
    batch = data(0).batch(chain.requires)
    batch = dataclasses.replace(batch, stats=batch.stats.detach())
    plain, tokens = es.ppo(batch), float(batch.mask.sum())
    fixed = dataclasses.replace(batch, divisors=Divisors(tokens, float(len(batch.mask)), fixed=4 * tokens))
    widths, drifts = [], []
    for mean, each in (("token", batch), ("fixed", fixed), ("fixed", batch)):
        sums = chain.account(dataclasses.replace(plain, mean=mean), each, chain.init())[1]
        totals = chain.totals(summarize(each), sums)
        (knob,) = chain.links[0].feedback
        widths.append(chain.links[0].effect(knob, totals.of(0)).width)
        drifts.append(chain.report(totals, chain.init())["uncontrolled"])
    assert widths[1] == pytest.approx(times * widths[0], rel=1e-6)
    assert drifts[1] == pytest.approx(drifts[0] / 4, rel=1e-6)
    assert (widths[2], drifts[2]) == (widths[0], drifts[0])  # where the divisor is not known
