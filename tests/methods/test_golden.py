"""Presets against their written formulas in NumPy, and against what the authors' released code returned."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.cases import apply, data, split, totals_of

import entrostat as es
from entrostat.control import PI, SelfTuning
from entrostat.core.control import EntropyControl
from entrostat.errors import DataError
from entrostat.stats import token_stats
from entrostat.types import Summary, TokenBatch, TokenStats, Totals

GOLDEN = Path(__file__).parent / "golden"


class Numbers:
    """The statistics of a batch in NumPy, from its logits."""

    def __init__(self, step: Any) -> None:
        z = step.logits_BTV.detach().double().numpy()
        p = np.exp(z - z.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        self.p_V = p
        self.entropy = -(p * np.log(p)).sum(-1)
        self.logp = np.log(np.take_along_axis(p, step.targets_BT.numpy()[..., None], -1)[..., 0])
        self.p = np.exp(self.logp)
        self.baseline = (p**2 * (self.entropy[..., None] + np.log(p))).sum(-1)
        self.s = self.p * (self.entropy + self.logp)
        self.d = self.s - self.baseline
        self.mask = step.mask_BT.numpy().astype(bool)
        self.n = self.mask.sum()
        self.a = step.advantages_BT.numpy()
        self.r = np.ones_like(self.p) if step.old_logp_BT is None else np.exp(self.logp - step.old_logp_BT.numpy())
        self.reward = step.rewards_B.numpy()

    def mean(self, x: np.ndarray) -> float:
        return float((x * self.mask).sum() / self.n)


def ppo_loss(x: Numbers, a: np.ndarray, low: float = 0.2, high: float = 0.2, dual: float | None = None) -> np.ndarray:
    """The objective: max(-A r, -A clip(r)), with the dual clip where A < 0."""
    loss = np.maximum(-a * x.r, -a * np.clip(x.r, 1 - low, 1 + high))
    return loss if dual is None else np.where(a < 0, np.minimum(loss, -a * dual), loss)


def ppo_slope(x: Numbers, a: np.ndarray, low: float = 0.2, high: float = 0.2, dual: float | None = None) -> np.ndarray:
    """Its derivative with respect to log p: -A r where the unclipped branch is the active one, else 0."""
    active = np.where(a > 0, x.r <= 1 + high, x.r >= 1 - low)
    if dual is not None:
        active &= (a >= 0) | (x.r <= dual)
    return np.where(active, -a * x.r, 0.0)


def logp_gradient(surrogate: Any, batch: TokenBatch) -> np.ndarray:
    (gradient,) = torch.autograd.grad(es.loss(surrogate, batch), batch.stats.logp)
    return gradient.numpy()


def leaf_batch(step: Any) -> TokenBatch:
    """A batch whose log-probabilities are the leaves."""
    stats = token_stats(step.logits_BTV.detach(), step.targets_BT, ("logp", "entropy", "baseline"))
    stats = TokenStats(stats.need("logp").requires_grad_(), stats.entropy, stats.baseline)
    return TokenBatch(stats, step.advantages_BT, step.mask_BT, step.old_logp_BT, step.rewards_B)


def follow(chain: Any, entropies: list[float]) -> list[Any]:
    """States of a chain that measures these entropies, the initial one first."""
    states = [chain.init()]
    for entropy in entropies:
        totals = Totals(Summary({"tokens": 1.0, "entropy": entropy}))
        states.append(chain.update(states[-1], totals)[0])
    return states


# -- EntroPIC ----------------------------------------------------------------------------------------------------------


def test_entropic_controller_has_the_released_arithmetic() -> None:
    """2511.15248: alpha = clip(Kp err + Ki I, -1, 1); then I += err. No anti-windup."""
    target, kp, ki = 0.1, 1.0, 0.01
    entropies = [0.9, 0.5, 3.0, 4.0, 3.5, 0.05, 0.02, 0.0, 0.1, 0.3, *np.random.default_rng(0).uniform(0, 6, 200)]
    integral, alphas = 0.0, []
    for entropy in entropies:
        err = entropy - target
        alphas.append(min(max(kp * err + ki * integral, -1.0), 1.0))
        integral += err
    states = follow(es.entropic(target), [float(e) for e in entropies])
    assert [s[0].knobs["u"].output for s in states[1:]] == pytest.approx(alphas, abs=1e-12)
    assert states[-1][0].knobs["u"].integral == pytest.approx(integral)
    assert max(alphas) == 1.0 and min(alphas) < 0.9


@pytest.mark.parametrize("alpha", [0.6, -0.8])
@pytest.mark.parametrize("on_policy", [True, False])
def test_entropic_gradient_is_ppo_and_the_released_term(alpha: float, on_policy: bool) -> None:
    """L = PPO(dual clip 3) + alpha * agg(-r |A|; m * (p > 0.95)), a token mean over the selected tokens alone."""
    step = data(3, on_policy=on_policy, scale=4.0)
    x, batch = Numbers(step), leaf_batch(step)
    chain = es.entropic(controller=alpha)
    surrogate = chain.apply(es.ppo(batch, dual_clip=3.0), batch, chain.init())
    high = x.mask & (x.p > 0.95)
    assert 0 < high.sum() < x.n
    value = x.mean(ppo_loss(x, x.a, dual=3.0)) + alpha * (-x.r * np.abs(x.a))[high].mean()
    assert es.loss(surrogate, batch).item() == pytest.approx(value, rel=1e-12)
    expected = ppo_slope(x, x.a, dual=3.0) * x.mask / x.n + alpha * np.where(high, -x.r * np.abs(x.a), 0) / high.sum()
    np.testing.assert_allclose(logp_gradient(surrogate, batch), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.7, -0.7, 1.6, -1.6])
@pytest.mark.parametrize("select", ["probability", "discriminator", "all"])
def test_entropic_weights_over_all_tokens(select: Any, alpha: float) -> None:
    """max(0, 1 + alpha sign(A)): beyond 1 a weight stops at 0, and no advantage changes sign."""
    step = data(4)
    x, batch = Numbers(step), leaf_batch(step)
    chain = es.entropic(controller=alpha, normalizer="all", select=select, threshold=0.6)
    surrogate = chain.apply(es.ppo(batch), batch, chain.init())
    chosen = {"probability": x.p > 0.6, "discriminator": x.d > 0, "all": np.ones_like(x.mask)}[select] & x.mask
    weight = np.where(chosen, np.maximum(1 + alpha * np.sign(x.a), 0), 1.0)
    np.testing.assert_allclose(surrogate.weight_BT.numpy(), weight, rtol=1e-12)
    np.testing.assert_allclose(
        logp_gradient(surrogate, batch), weight * ppo_slope(x, x.a) * x.mask / x.n, rtol=1e-10, atol=1e-14
    )


# -- Clip_B and Clip_V -------------------------------------------------------------------------------------------------


def clip_masks(x: Numbers, name: str, mu: float, share: float, two_sided: bool, last: Numbers | None) -> np.ndarray:
    """2602.03392, Section 4, with mean and deviation of the batch `last`, or of this one."""
    ref = last or x
    statistic, reference = (x.s, ref.s) if name == "clip_b" else (x.baseline - x.s, ref.baseline - ref.s)
    mean = ref.mean(reference)
    deviation = math.sqrt(ref.mean((reference - mean) ** 2))
    if deviation < 1e-12:
        return np.ones_like(x.mask)
    outlying = mean - statistic if name == "clip_b" else statistic
    drop = (np.abs(outlying) if two_sided else outlying) > mu * deviation
    drop &= x.mask if two_sided else x.mask & (x.a < 0)
    most = max(1, int(share * x.n))
    if share < 1 and drop.sum() > most:
        size = np.where(drop, np.abs(outlying) if two_sided else outlying, -np.inf)
        drop = np.zeros_like(drop)
        drop.flat[np.argsort(-size, axis=None)[:most]] = True
    return ~drop


@pytest.mark.parametrize("name", ["clip_b", "clip_v"])
@pytest.mark.parametrize("mu", [0.2, 0.8, 2.5])
@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.1, 1e-4])
def test_clipped_tokens(name: str, mu: float, two_sided: bool, share: float) -> None:
    if name == "clip_b" and share < 1:
        return
    options: dict[str, Any] = {"mu": mu, "two_sided": two_sided} | (
        {"largest_share": share} if name == "clip_v" else {}
    )
    dropped = 0
    for seed in range(4):
        first, second = data(seed), data(seed + 100)
        micro, step = EntropyControl(es.make(name, scope="micro", **options)), EntropyControl(es.make(name, **options))
        x, y = Numbers(first), Numbers(second)
        kept = apply(micro, first).keep_BT
        assert np.array_equal(kept.numpy() & x.mask, clip_masks(x, name, mu, share, two_sided, None) & x.mask)
        assert apply(step, first).keep_BT.all(), "there is no deviation before the first step"
        step.step()
        surrogate = apply(step, second)
        expected = clip_masks(y, name, mu, share, two_sided, x)
        assert np.array_equal(surrogate.keep_BT.numpy() & y.mask, expected & y.mask)
        kept_tokens = expected & y.mask
        value = (ppo_loss(y, y.a) * kept_tokens).sum() / max(kept_tokens.sum(), 1)  # the denominator shrinks
        assert es.loss(surrogate, second.batch()).item() == pytest.approx(value, rel=1e-10)
        dropped += int((~expected).sum())
        assert step.step()["entropy_control/clip_tokens/dropped_share"] == pytest.approx(
            (~expected & y.mask).sum() / y.n
        )
    assert dropped or mu == 2.5


@pytest.mark.parametrize("name", ["clip_b", "clip_v"])
@pytest.mark.parametrize("scope", ["micro", "step"])
def test_a_statistic_without_spread_keeps_everything(name: str, scope: str) -> None:
    """2602.03392, Section 4: sd < 1e-12 keeps all. A constant S of 0.1 leaves only rounding, on either path to the deviation."""
    control = EntropyControl(es.make(name, mu=0.0, scope=scope))
    p = 0.7
    logp, entropy = torch.full((4, 50), math.log(p)).double(), torch.full((4, 50), 0.1 / p - math.log(p)).double()
    stats = TokenStats(logp, entropy, torch.full((4, 50), 0.03).double())
    batch = TokenBatch(stats, torch.full((4, 50), -1.0).double(), torch.ones(4, 50))
    for _ in range(2):
        kept = control.apply(es.ppo(batch), batch).keep_BT
        assert kept.all()
        control.step()
    assert control.state[0].memory["deviation"] == 0


def release() -> list[Any]:
    cases = json.loads((GOLDEN / "trinity_clip.json").read_text())["cases"]
    return [
        pytest.param(case, result, id=f"{case['seed']}-{i}")
        for case in cases
        for i, result in enumerate(case["results"])
    ]


@pytest.mark.parametrize(("case", "result"), release())
def test_clipped_tokens_are_those_of_trinity(case: dict[str, Any], result: dict[str, Any]) -> None:
    """trinity-rft 0.6.0's own ClipBAdvantageFn and ClipVAdvantageFn, see golden/make_trinity_clip.py."""
    logp, entropy, baseline, advantages = (torch.tensor(case[k]) for k in ("logp", "entropy", "baseline", "advantages"))
    mask, theirs = torch.tensor(case["mask"]), torch.tensor(result["kept"]).bool()
    batch = TokenBatch(TokenStats(logp, entropy, baseline), advantages, mask)
    method = es.make(result["method"], scope="micro", **result["options"])
    ours = batch.mask & method.apply(es.ppo(batch), batch, method.init()).keep_BT
    counts = batch.mask & (advantages != 0)
    assert torch.equal(ours[counts], theirs[counts])
    if result["method"] == "clip_b":
        assert torch.equal(ours, theirs)
    # The release's Clip_V also drops outliers whose advantage is zero, outside its cap: declared in our Source.
    assert (ours >= theirs).all()


def test_the_fixture_of_trinity_drops_tokens() -> None:
    cases = json.loads((GOLDEN / "trinity_clip.json").read_text())["cases"]
    for method in ("clip_b", "clip_v"):
        dropped = [
            int(torch.tensor(c["mask"]).sum() - torch.tensor(r["kept"]).sum())
            for c in cases
            for r in c["results"]
            if r["method"] == method
        ]
        assert sum(count > 1 for count in dropped) >= 3 and 0 in dropped


# -- Skywork, bonus, clip range ----------------------------------------------------------------------------------------


def test_skywork_coefficient_and_gate() -> None:
    """2505.22312: coef moves by delta after the update; the bonus is on only below the target; on at the first step."""
    target, delta, low, high, start = 0.2, 1e-4, 0.0, 5e-4, 0.0
    entropies = [0.1] * 8 + [0.2, 0.5, 0.19, 0.3, 0.3] + [0.4] * 9 + [0.0, 0.1]
    coef, expected = start, [start]
    for entropy in entropies:
        coef = min(max(coef + (delta if entropy < target else -delta), low), high)
        expected.append(coef * (entropy < target))
    states = follow(es.skywork(target, delta, (low, high), start), entropies)
    assert [s[0].knobs["coef"].output for s in states] == pytest.approx(expected, abs=1e-15)
    assert max(expected) == high and expected.count(0.0) > 5


def test_skywork_defaults_are_the_released_ones() -> None:
    coef = es.skywork().links[0].coef
    assert (coef.target, coef.delta, coef.limits, coef.start) == (0.2, 1e-4, (0.0, 5e-3), 0.0)


@pytest.mark.parametrize("coef", [0.3, -0.2])
def test_entropy_bonus(coef: float) -> None:
    """The bonus: loss = pg - c agg(H, m); at the logits the bonus alone has the gradient c p (log p + H) / N."""
    step = data(2)
    x, batch = Numbers(step), step.batch()
    chain = es.entropy_bonus(coef)
    surrogate = chain.apply(es.ppo(batch), batch, chain.init())
    value = x.mean(ppo_loss(x, x.a)) - coef * x.mean(x.entropy)
    assert es.loss(surrogate, batch).item() == pytest.approx(value, rel=1e-12)
    (gradient,) = torch.autograd.grad(surrogate.terms[0].loss(batch), step.logits_BTV)
    expected = coef * x.p_V * (np.log(x.p_V) + x.entropy[..., None]) * x.mask[..., None] / x.n
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-9, atol=1e-14)


def test_clip_higher_is_dapo() -> None:
    """2503.14476: clip(r, 1 - 0.2, 1 + 0.28), dual clip 3 or 10 from the host's objective."""
    step = data(6).replace(old_logp_BT=data(6).old_logp_BT - 0.2)
    x, batch = Numbers(step), leaf_batch(step)
    chain = es.clip_higher()
    surrogate = chain.apply(es.ppo(batch, dual_clip=3.0), batch, chain.init())
    between = x.mask & (x.a > 0) & (x.r > 1.2) & (x.r < 1.28)
    assert between.any(), "tokens that only the higher bound lets grow"
    assert es.loss(surrogate, batch).item() == pytest.approx(x.mean(ppo_loss(x, x.a, 0.2, 0.28, 3.0)), rel=1e-12)
    expected = ppo_slope(x, x.a, 0.2, 0.28, 3.0) * x.mask / x.n
    np.testing.assert_allclose(logp_gradient(surrogate, batch), expected, rtol=1e-10, atol=1e-14)


def test_clip_higher_leaves_the_ends_that_it_does_not_set() -> None:
    batch = data(0).batch()
    chain = es.clip_higher(eps_high=0.4, eps_low=None)
    surrogate = chain.apply(es.ppo(batch, eps_low=0.11), batch, chain.init())
    assert (surrogate.eps_low, surrogate.eps_high) == (0.11, 0.4)


# -- rewards without baseline ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "positive", "negative"),
    [
        ("psr", {}, 1.0, 0.0),
        ("nsr", {}, 0.0, 1.0),
        ("w_reinforce", {}, 0.1, 1.0),
        ("w_reinforce", {"positive": 0.5}, 0.5, 1.0),
        ("nsr", {"weight": 2.0}, 0.0, 2.0),
    ],
)
@pytest.mark.parametrize("objective", ["ppo", "grpo"])
def test_reward_advantages(
    name: str, options: dict[str, float], positive: float, negative: float, objective: str
) -> None:
    """2506.01347: A = positive R - negative (1 - R); PSR and NSR are the loss of the batch trimmed to their rows."""
    step = data(7)
    step = step.replace(rewards_B=torch.tensor([1.0, 0, 0, 1, 0, 0, 1, 0]).double())
    x, batch = Numbers(step), step.batch()
    chain = es.make(name, **options)
    surrogate = chain.apply(getattr(es, objective)(batch), batch, chain.init())
    a_B = positive * x.reward - negative * (1 - x.reward)
    np.testing.assert_allclose(surrogate.advantages_BT.numpy(), np.broadcast_to(a_B[:, None], x.mask.shape), rtol=1e-12)
    rows = a_B != 0
    per_token = ppo_loss(x, np.broadcast_to(a_B[:, None], x.mask.shape)) * x.mask
    if objective == "ppo":
        expected = per_token[rows].sum() / x.mask[rows].sum()
    else:
        expected = (per_token[rows].sum(1) / x.mask[rows].sum(1)).mean()
    assert es.loss(surrogate, batch).item() == pytest.approx(expected, rel=1e-12)


# -- flow --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["step", "micro"])
@pytest.mark.parametrize("u", [0.2, -0.2, 1.7, -1.7])
def test_flow_weights(scope: Any, u: float) -> None:
    """docs/methods/flow.md: f = A D / rms(A D); w = clip(1 + u f, 0, w_max)."""
    first, second = data(1), data(2)
    control = EntropyControl(es.flow(controller=u, scope=scope, w_max=2.0))
    surrogate = apply(control, first)
    x, y = Numbers(first), Numbers(second)
    if scope == "step":
        assert torch.equal(surrogate.weight_BT, torch.ones_like(surrogate.weight_BT))
    control.step()
    batch = leaf_batch(second)
    surrogate = control.apply(es.ppo(batch), batch)
    last = x if scope == "step" else y
    rms = math.sqrt(last.mean((last.a * last.d) ** 2))
    weight = np.clip(1 + u * y.a * y.d / rms, 0, 2.0)
    np.testing.assert_allclose(surrogate.weight_BT.numpy()[y.mask], weight[y.mask], rtol=1e-10)
    expected = np.where(y.mask, weight * ppo_slope(y, y.a) / y.n, 0)
    np.testing.assert_allclose(logp_gradient(surrogate, batch), expected, rtol=1e-9, atol=1e-14)
    clipped = (weight[y.mask] == 0).any() or (weight[y.mask] == 2.0).any()
    assert clipped == (abs(u) > 1)


@pytest.mark.parametrize("scope", ["step", "micro"])
def test_cost_weighted_flow(scope: Any) -> None:
    """docs/methods/flow.md: f = (D / (A q)) / (rms(D / q) / rms(A)), whatever the least advantage is."""
    step = data(1)
    x = Numbers(step)
    control = EntropyControl(es.flow(controller=0.1, scope=scope, shape="cost"))
    apply(control, step)
    control.step()
    weight_BT = apply(control, step).weight_BT
    q = 1 - 2 * x.p + (x.p_V**2).sum(-1)
    scale = math.sqrt(x.mean((x.d / q) ** 2) / x.mean(x.a**2))
    expected = np.clip(1 + 0.1 * x.d / (x.a * q) / scale, 0, 5.0)
    np.testing.assert_allclose(weight_BT.numpy()[x.mask], expected[x.mask], rtol=1e-9)


def test_cost_weighted_flow_in_single_precision() -> None:
    """D and q of a token that is all but certain cancel to rounding errors; their quotient is to stay what it is."""
    torch.manual_seed(0)
    logits_BTV = torch.randn(4, 200, 50, dtype=torch.float64)
    logits_BTV[..., 0] += 30 * torch.rand(4, 200, dtype=torch.float64)
    advantages_B = torch.tensor([1.0, -1.0, 0.5, -0.5])

    def share(dtype: torch.dtype) -> torch.Tensor:
        stats = token_stats(
            logits_BTV.to(dtype), torch.zeros(4, 200, dtype=torch.long), ("logp", "entropy", "baseline", "collision")
        )
        batch = TokenBatch(stats, advantages_B.to(dtype), torch.ones(4, 200, dtype=torch.bool))
        chain = es.flow(controller=0.01, scope="micro", shape="cost", w_max=100.0)
        return (chain.apply(es.ppo(batch), batch, chain.init()).weight_BT.double() - 1) / 0.01

    exact, single = share(torch.float64), share(torch.float32)
    assert (exact.abs() < 10).all() and (exact.abs() > 1).any()
    assert (single - exact).abs().max() < 0.3  # before, rounding made hundreds of some


@pytest.mark.parametrize("u", [0.1, -0.1])
def test_flow_moves_entropy_by_the_rms_of_its_gain(u: float) -> None:
    """On-policy and unclipped, the change that u adds is -u rms(A D), whatever the batch."""
    for seed in range(5):
        step = data(seed, on_policy=True)
        x, batch = Numbers(step), step.batch()
        chain = es.flow(controller=u, scope="micro")
        summary = totals_of(chain, chain.init(), batch)
        _, metrics = chain.update(chain.init(), summary)
        rms = math.sqrt(x.mean((x.a * x.d) ** 2))
        weight = chain.apply(es.ppo(batch), batch, chain.init()).weight_BT
        assert (weight > 0).all() and (weight < 5).all()
        assert metrics["predicted"] - metrics["uncontrolled"] == pytest.approx(-u * rms, rel=1e-9)
        assert metrics["uncontrolled"] == pytest.approx(-x.mean(x.a * x.d), rel=1e-9)
        assert metrics["flow/flow_rms"] == pytest.approx(rms, rel=1e-9)


@pytest.mark.parametrize("name", ["nsr", "psr", "w_reinforce"])
def test_a_row_that_nothing_scored_is_not_a_wrong_one(name: str) -> None:
    step = data(0)
    rewards = step.rewards_B.clone()
    rewards[2:4] = math.nan
    surrogate = apply(EntropyControl(es.make(name)), step.replace(rewards_B=rewards))
    assert not surrogate.advantages_BT[2:4].any() and not surrogate.keep_BT[2:4].any()
    scored = apply(EntropyControl(es.make(name)), step)
    others = [0, 1, 4, 5, 6, 7]
    assert torch.equal(surrogate.advantages_BT[others], scored.advantages_BT[others])
    assert torch.equal(surrogate.keep_BT[others], scored.keep_BT[others])


def test_flow_defaults_are_those_of_its_source() -> None:
    link = es.flow(0.3).links[0]
    assert isinstance(link.u, SelfTuning)
    assert (link.u.settling, link.u.limits, link.w_max, link.scope) == (30.0, (-2.0, 2.0), 5.0, "step")


def test_flow_takes_fixed_gains_or_a_settling_time() -> None:
    fixed = es.flow(0.3, kp=10.0).links[0].u
    assert isinstance(fixed, PI)
    assert (fixed.kp, fixed.ki, fixed.limits) == (10.0, 0.0, (-2.0, 2.0))
    assert es.flow(0.3, settling=50).links[0].u.settling == 50
    with pytest.raises(es.ConfigError, match="settling=50"):
        es.flow(0.3, settling=50, ki=1.0)
    for beside in ({"settling": 50}, {"kp": 1.0}, {"ki": 0.0}, {"target": 0.3}):
        with pytest.raises(es.ConfigError, match=rf"{next(iter(beside))}=.* has no effect beside controller"):
            es.flow(controller=PI(0.3, 1.0, 0.0), **beside)


def test_only_tokens() -> None:
    """2602.03392's interventions: one sign of advantage, one sign of S; the rest weigh nothing."""
    step = data(8)
    x = Numbers(step)
    for samples, side in (("positive", "positive"), ("positive", "negative"), ("negative", "positive")):
        surrogate = apply(EntropyControl(es.only_tokens(samples, side)), step)
        kept = x.mask & ((x.a > 0) == (samples == "positive")) & ((x.s > 0) == (side == "positive"))
        assert np.array_equal(surrogate.weight_BT.numpy(), kept.astype(float))


def test_chained_links_keep_their_own_accounts() -> None:
    """A prediction counts what earlier links of the chain did, and no link reads another's sums."""
    first, second = data(1, on_policy=True), data(2, on_policy=True)
    control = EntropyControl(es.chain(es.flow(controller=PI(0.3, 2.0, 0.1, (-1, 1))), es.clip_b(mu=0.1)))
    alone = EntropyControl(es.flow(controller=PI(0.3, 2.0, 0.1, (-1, 1))))
    for each in (control, alone):
        for step in (first, second):
            for micro in split(step, 2):
                surrogate = apply(each, micro)
            metrics = each.step()
        if each is control:
            both = metrics
    for name in ("uncontrolled", "authority", "authority_low", "authority_high", "flow/flow_rms"):
        assert both[f"entropy_control/{name}"] == metrics[f"entropy_control/{name}"]
    assert both["entropy_control/authority"] > 0
    assert both["entropy_control/predicted"] != metrics["entropy_control/predicted"]
    assert both["entropy_control/clip_tokens/dropped_share"] > 0
    assert surrogate.weight_BT is not None


# -- KL-Cov, entropy-advantage shaping -----------------------------------------------------------------------------------


def kl_cov_loss(x: Numbers, share: float, coef: float) -> tuple[float, np.ndarray]:
    """2505.22617 and verl's kl_cov: -A r, and coef |log r| on the top max(1, int(share N)) tokens of the covariance."""
    covariance = (x.a - x.mean(x.a)) * (x.logp - x.mean(x.logp))
    count = max(1, int(share * x.n))
    chosen = np.zeros_like(x.mask)
    chosen.flat[np.argsort(-np.where(x.mask, covariance, -np.inf), axis=None)[:count]] = True
    log_ratio = np.log(x.r)
    slope = -x.a * x.r + coef * np.sign(log_ratio) * chosen
    return x.mean(-x.a * x.r + coef * np.abs(log_ratio) * chosen), slope * x.mask / x.n


@pytest.mark.parametrize("share", [0.002, 0.1, 0.5])
@pytest.mark.parametrize("coef", [1.0, 0.1])
@pytest.mark.parametrize("scope", ["micro", "step"])
def test_kl_cov_is_the_released_loss(share: float, coef: float, scope: Any) -> None:
    for seed in range(4):
        step = data(seed)
        batch = leaf_batch(step)
        control = EntropyControl(es.kl_cov(share, coef, scope), delay=0)
        surrogate = control.step_on(es.ppo(batch, dual_clip=3.0), batch)[0]  # the whole step is at hand
        value, slope = kl_cov_loss(Numbers(step), share, coef)
        assert es.loss(surrogate, batch).item() == pytest.approx(value, rel=1e-9)
        np.testing.assert_allclose(logp_gradient(surrogate, batch), slope, rtol=1e-8, atol=1e-13)


def test_kl_cov_of_the_last_step_where_this_one_is_not_at_hand() -> None:
    """Means and threshold of the step before, over both of its micro-batches."""
    control = EntropyControl(es.kl_cov(0.1))
    first, second, third = (data(seed) for seed in (1, 2, 3))
    for step in (first, second):
        for micro in split(step, 2):
            surrogate = apply(control, micro)
            assert step is second or not surrogate.terms[0].factor_BT.any(), "nothing is known before the first step"
        control.step()
    x, y, z = Numbers(first), Numbers(second), Numbers(third)
    pooled = ((y.a - x.mean(x.a)) * (y.logp - x.mean(x.logp)))[y.mask]
    threshold = np.sort(pooled.astype(np.float32))[::-1][max(1, int(0.1 * y.n)) - 1]
    covariance = (z.a - y.mean(y.a)) * (z.logp - y.mean(y.logp))
    expected = z.mask & (covariance.astype(np.float32) >= threshold)
    assert np.array_equal(apply(control, third).terms[0].factor_BT.numpy().astype(bool), expected)
    assert control.step()["entropy_control/kl_cov/chosen_share"] == pytest.approx(expected.sum() / z.n)


@pytest.mark.parametrize(("alpha", "kappa"), [(0.4, 2.0), (3.0, 1.5)])
def test_entropy_advantage_is_the_paper_s(alpha: float, kappa: float) -> None:
    """2506.14758: A + min(alpha H, |A| / kappa), the entropy without gradient."""
    step = data(5)
    x, batch = Numbers(step), leaf_batch(step)
    surrogate = es.chain(es.entropy_advantage(alpha, kappa)).apply(
        es.ppo(batch), batch, (es.entropy_advantage(alpha).init(),)
    )
    shaped = x.a + np.minimum(alpha * x.entropy, np.abs(x.a) / kappa)
    assert (np.sign(shaped) == np.sign(x.a)).all()
    np.testing.assert_allclose(surrogate.advantages_BT.numpy(), shaped, rtol=1e-12)
    np.testing.assert_allclose(
        logp_gradient(surrogate, batch), ppo_slope(x, shaped) * x.mask / x.n, rtol=1e-10, atol=1e-14
    )


# -- what the clip has stopped -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dual", [None, 1.2])
@pytest.mark.parametrize("objective", ["ppo", "grpo", "gspo", "cispo"])
def test_flow_counts_what_the_clip_lets_through(objective: str, dual: float | None) -> None:
    """sum (dL/dlogp) D with the loss differentiated by autograd, half of the tokens clipped."""
    for seed in range(4):
        step = data(seed)
        step = step.replace(
            old_logp_BT=step.old_logp_BT + 0.4 * torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
        )
        batch = leaf_batch(step)
        objectives: dict[str, Any] = {"ppo": es.ppo, "grpo": es.grpo, "gspo": es.gspo, "cispo": es.cispo}
        plain = objectives[objective](batch)
        plain = dataclasses.replace(plain, dual_clip=dual if objective in ("ppo", "grpo") else None)
        x = Numbers(step)
        (slope,) = torch.autograd.grad(
            es.methods.token_loss(plain, batch).masked_fill(~batch.mask, 0).sum(), batch.stats.logp
        )
        if objective == "gspo":
            assert torch.allclose(slope[batch.mask], -es.methods.token_push(plain, batch)[batch.mask])
        expected = x.mean(slope.numpy() * x.d)
        control = EntropyControl(es.observe())
        control.apply(plain, batch)
        metrics = control.step()
        assert metrics["token_entropy/flow"] == pytest.approx(expected, rel=1e-9)
        # The step weighs tokens as the loss's mean does.
        (step_slope,) = torch.autograd.grad(es.loss(plain, batch), batch.stats.logp)
        foreseen = float((step_slope.numpy() * x.d)[x.mask].sum())
        for name in ("entropy_control/predicted", "entropy_control/uncontrolled"):
            assert metrics[name] == pytest.approx(foreseen, rel=1e-9), name
        quadrants = [v for k, v in metrics.items() if k.startswith("token_entropy/flow_")]
        assert sum(quadrants) == pytest.approx(expected, rel=1e-9)
        if objective == "ppo":
            assert expected != pytest.approx(-x.mean(x.r * x.a * x.d), rel=0.01)  # the clip is active


def test_log_ratios_are_clamped_as_in_verl_and_trinity() -> None:
    step = data(0)
    batch = step.replace(old_logp_BT=step.old_logp_BT - 90).batch()
    assert batch.ratio[batch.mask].detach() == pytest.approx(torch.full((int(batch.mask.sum()),), math.exp(20)))
    es.loss(es.cispo(batch), batch)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    batch = data(0).replace(advantages_BT=torch.full((8, 6), math.inf)).batch()
    with pytest.raises(DataError, match="the loss is"):
        es.loss(es.ppo(batch), batch)
