"""Every published method against its formula written down in NumPy, on random batches.

Padding, equal rewards, rewards of None, near-certain tokens and off-policy ratios are among the batches. "step" is this very
batch, as a host that has it at hand sees it (`step_on`), which is what the releases compute over their batch.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from methods.numpy_batch import GROUPS, B, Data, LogpAt, MinP, Nucleus, T

import entrostat as es
from entrostat.control import Band
from entrostat.core.control import EntropyControl
from entrostat.errors import ConfigError, DataError
from entrostat.types import Clamped, Reheated, Surrogate, TopKEntropy

DATA = [
    Data(0),
    Data(1, stale=False),
    Data(2, equal=True),
    Data(3, unscored=True),
    Data(4, scale=9.0),  # tokens that are all but certain, and some that are all but impossible
]
EVERY = pytest.mark.parametrize("data", DATA, ids=["stale", "on-policy", "equal", "unscored", "certain"])


def on(method: Any, data: Data, extra: dict | None = None, old: dict | None = None) -> Surrogate:
    """The objective after a step whose batch is at hand."""
    batch = data.batch(extra, old)
    changed, _ = EntropyControl(method).step_on(es.ppo(batch), batch)
    return changed


def after(
    method: Any, data: Data, steps: int = 1, extra: dict | None = None, old: dict | None = None
) -> EntropyControl:
    """A control that has seen the batch as earlier steps."""
    control = EntropyControl(method)
    for _ in range(steps):
        batch = data.batch(extra, old)
        control.apply(es.ppo(batch), batch)
        control.step()
    return control


def scored(method: Any, data: Data, control: EntropyControl | None = None) -> np.ndarray:
    return (control or EntropyControl(method)).score(data.rollouts()).advantages.numpy()


def same(found: torch.Tensor, expected: np.ndarray, data: Data, tolerance: float = 1e-9) -> None:
    """Equal at the tokens; padding may hold anything."""
    wide = torch.broadcast_to(torch.as_tensor(found), expected.shape).detach().double().numpy()
    np.testing.assert_allclose(wide[data.mask], expected[data.mask], rtol=tolerance, atol=tolerance)


def by_group(data: Data, formula: Any) -> np.ndarray:
    """A formula of one group's scored rewards, for every row; 0 for unscored ones."""
    found = np.zeros(B)
    for group in (0, 1):
        rows = np.array([i for i in range(B) if GROUPS[i] == group and not np.isnan(data.rewards[i])])
        found[rows] = formula(data.rewards[rows], rows)
    return found


def top(values: np.ndarray, mask: np.ndarray, share: float, down: bool = False) -> np.ndarray:
    """The largest values of the mask, by sorting them."""
    n = int(mask.sum())
    if not n:
        return np.zeros_like(mask)
    count = max(1, math.floor(share * n + 1e-9)) if down else math.ceil(share * n - 1e-9)
    return mask & (values >= np.sort(values[mask])[::-1][count - 1])


# -- covariance ----------------------------------------------------------------------------------------------------------


@EVERY
def test_clip_cov(data: Data) -> None:
    mean_a, mean_logp = data.advantages[data.mask].mean(), data.logp[data.mask].mean()
    covariance = (data.advantages - mean_a) * (data.logp - mean_logp)
    clipped = np.where(data.advantages > 0, data.ratio > 1.2, data.ratio < 0.8) | (data.advantages == 0)
    inside = data.mask & ~clipped & (covariance > 0.1) & (covariance < 2)
    changed = on(es.make("clip_cov", share=0.1, low=0.1, high=2.0), data)
    dropped = (changed.weight_BT == 0).numpy() & data.mask
    assert not (dropped & ~inside).any()
    assert dropped.sum() == min(max(int(0.1 * data.mask.sum()), 1), inside.sum())


# -- by entropy and probability --------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("scope", ["micro", "step", "sequence", "group"])
def test_high_entropy_tokens(data: Data, scope: str) -> None:
    changed = on(es.make("high_entropy_tokens", share=0.3, scope=scope), data)
    if scope in ("micro", "step"):
        expected = top(data.entropy, data.mask, 0.3)
    else:
        expected = np.zeros_like(data.mask)
        for part in range(B) if scope == "sequence" else (0, 1):
            rows = (np.arange(B) == part) if scope == "sequence" else (part == GROUPS)
            expected |= top(data.entropy, data.mask & rows[:, None], 0.3)
    same(changed.keep_BT, expected, data)
    kept = on(es.make("high_entropy_tokens", share=0.3, scope=scope, renormalize=False), data)
    assert kept.keep_BT is None
    same(kept.weight_BT, expected.astype(float), data)


@EVERY
def test_positive_weights(data: Data) -> None:
    changed = on(es.make("positive_reweighting", weight=0.3), data)
    same(changed.weight_BT, np.where(data.advantages > 0, 0.3, 1.0), data)
    rule = after(es.make("positive_reweighting", target=data.mean_entropy - 0.1), data, steps=3)
    assert rule.state[0].knobs["weight"].output == pytest.approx(0.15)  # above the target it rises by 0.05 a step
    low = after(es.make("positive_reweighting", target=data.mean_entropy + 0.1), data, steps=3)
    assert low.state[0].knobs["weight"].output == 0
    staged = es.make("positive_reweighting_staged", steps=6)
    weights = [after(staged, data, steps=n).state[0].knobs["weight"].output for n in range(8)]
    assert weights == pytest.approx([0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1])


@EVERY
@pytest.mark.parametrize("scope", ["micro", "step"])
def test_stare(data: Data, scope: str) -> None:
    method = es.make("stare", target=data.mean_entropy + 0.1, up=1.3, down=0.7, share=0.2, scope=scope)
    positive, negative = data.mask & (data.advantages > 0), data.mask & (data.advantages < 0)
    expected = np.where(top(-data.logp, positive, 0.2), 1.3, np.where(top(-data.logp, negative, 0.2), 0.7, 1.0))
    same(on(method, data).weight_BT, expected, data)
    off = es.make("stare", target=data.mean_entropy - 0.1, up=1.3, scope=scope)
    same(on(off, data).weight_BT, np.ones((B, T)), data)


@EVERY
@pytest.mark.parametrize("scope", ["micro", "step"])
def test_steer(data: Data, scope: str) -> None:
    p = np.exp(data.logp).clip(1e-8)
    effect = np.abs(data.advantages / np.exp(data.old_logp).clip(1e-8) * p * (1 - p) * (np.log(p) + data.entropy))
    k = -math.log(0.7) / max(effect[data.mask].max(), 0.02)
    same(on(es.make("steer", w_min=0.7, scope=scope), data).weight_BT, np.exp(-k * effect).clip(0.7, 1), data, 1e-6)


@EVERY
@pytest.mark.parametrize("change", ["exact", "self", "paper"])
@pytest.mark.parametrize("scope", ["micro", "step"])
def test_opefo(data: Data, change: str, scope: str) -> None:
    p = np.exp(data.logp)
    s = p * (data.entropy + data.logp)
    each = {"exact": s - data.baseline, "self": s, "paper": p * (1 - p) ** 2 * (data.logp + data.entropy)}[change]
    delta = -data.advantages * each * data.mask
    rising, falling = delta[delta > 0].sum(), -delta[delta < 0].sum()
    lam = (falling - rising) / (falling + rising) if falling + rising else 0
    changed = on(es.make("opefo", change=change, scope=scope), data)
    weight = np.where(delta > 0, 1 + lam, np.where(delta < 0, 1 - lam, 1.0))
    same(changed.weight_BT, weight, data, 1e-7)
    if falling + rising:  # what it is for: the two sides balance
        assert (delta * weight).sum() == pytest.approx(0, abs=1e-9 * (rising + falling))


@EVERY
def test_ulorl(data: Data) -> None:
    means = (data.entropy * data.mask).sum(1) / data.mask.sum(1)
    level = float(np.median(means)) + 1e-9
    mastered = ((data.rewards == 1) & (means < level))[:, None] & (np.exp(data.logp) >= 0.3)
    changed = on(es.make("ulorl", threshold=0.3, entropy=level), data)
    same(changed.weight_BT, 1.0 - mastered, data)
    assert changed.keep_BT is None, "the denominator is that of all tokens"


@EVERY
def test_erc(data: Data) -> None:
    ratio = (data.entropy + 1e-8) / (data.entropy_of(old=data.stale) + 1e-8)
    changed = on(es.make("erc"), data)
    same(changed.stopped_BT, ~((ratio > 0.95) & (ratio < 1.05)), data)


@EVERY
def test_rsi_s_and_stapo(data: Data) -> None:
    index = -data.logp / np.maximum(data.entropy, 1e-8)
    same(on(es.make("rsi_s"), data).keep_BT, (index >= 0.1) & (index <= 3), data)
    rare = np.exp(data.logp) < 0.2
    for scope in ("micro", "step"):
        spurious = top(-data.entropy, data.mask, 0.3) & (data.advantages > 0) & rare
        same(on(es.make("stapo", prob=0.2, share=0.3, scope=scope), data).keep_BT, ~spurious, data)


@EVERY
def test_ar_and_lopti(data: Data) -> None:
    p = np.exp(data.old_logp)
    same(on(es.make("ar", alpha=0.3), data).advantages_BT, data.advantages * (0.3 * p + 0.7), data)
    control = EntropyControl(es.make("lopti", eta=0.2))
    for step in range(4):
        batch = data.batch()
        changed = control.apply(es.ppo(batch), batch)
        same(changed.weight_BT, (p < 0.2) if step % 2 == 0 else (p >= 0.2), data)
        control.step()


# -- advantages per token ----------------------------------------------------------------------------------------------------


@EVERY
def test_repo(data: Data) -> None:
    same(on(es.make("repo", beta=0.2), data).advantages_BT, data.advantages - 0.2 * (data.logp + data.entropy), data)
    for zeta in (0.3, -0.3):
        a, logp = data.advantages, data.logp
        up, down = np.maximum(0, a * (1 - zeta * logp)), np.minimum(0, a * (1 + zeta * logp))
        expected = np.where(a > 0, up, np.where(a < 0, down, a))
        same(on(es.make("repo_r", zeta=zeta), data).advantages_BT, expected, data)


def test_the_controller_of_repo_r_doubles_halves_and_changes_sign() -> None:
    data = DATA[0]
    below = es.make("repo_r", target=data.mean_entropy + 1, start=0.3, smallest=0.1)
    assert after(below, data, steps=2).state[0].knobs["zeta"].output == 1.0  # 0.6, then the largest
    above = es.make("repo_r", target=data.mean_entropy - 0.5, start=0.3, smallest=0.1)
    outputs = [after(above, data, steps=n).state[0].knobs["zeta"].output for n in range(5)]
    assert outputs == pytest.approx([0.3, 0.15, -0.1, -0.2, -0.4])


@EVERY
def test_dcpo(data: Data) -> None:
    at = {t: data.of_token(data.logp_V(old=data.stale, temperature=t)) for t in (1.2, 0.8)}
    old = {LogpAt(t): value for t, value in at.items()}
    for target in (data.mean_entropy + 0.04, max(data.mean_entropy - 0.3, 0.0)):
        t = 1.2 if data.mean_entropy <= target else 0.8
        known = data.rewards[~np.isnan(data.rewards)]
        a = min(abs(target - data.mean_entropy), 0.1) / (known > 0.05).mean()
        alpha = a / (1 + a)
        gain = (np.nan_to_num(data.rewards) > 0.05)[:, None] * np.exp(at[t] - data.old_logp)
        expected = (1 - alpha) * data.advantages + alpha * gain
        same(on(es.make("dcpo", target=target), data, old=old).advantages_BT, expected, data, 1e-7)


# -- clip ranges and forms ---------------------------------------------------------------------------------------------------


def slopes(changed: Surrogate, data: Data) -> np.ndarray:
    """dL/dlogp of every token, before any mean, as the library's loss has it."""
    batch = data.batch()
    total = es.methods.token_loss(changed, batch).masked_fill(~batch.mask, 0).sum()
    return torch.autograd.grad(total, batch.stats.logp)[0].numpy()


@EVERY
def test_ce_gppo(data: Data) -> None:
    r, a = data.ratio, data.advantages
    slope = np.where((r < 0.8) & (a < 0), -0.5 * 0.8 * a, np.where((r > 1.2) & (a > 0), -0.9 * 1.2 * a, -r * a))
    slope = np.where((a < 0) & (r > 3), 0, slope)  # the dual clip
    same(
        torch.from_numpy(slopes(on(es.make("ce_gppo", beta_low=0.5, beta_high=0.9), data), data)),
        slope * data.mask,
        data,
    )
    full = np.where((r < 0.8) & (a < 0), -0.8 * a, np.where((r > 1.2) & (a > 0), -1.2 * a, -r * a))
    full = np.where((a < 0) & (r > 3), 0, full)
    same(torch.from_numpy(slopes(on(es.make("gppo"), data), data)), full * data.mask, data)


@EVERY
def test_aspo_and_archer(data: Data) -> None:
    uncertain = np.zeros_like(data.mask)
    for row in range(B):
        uncertain |= top(data.entropy, data.mask & (np.arange(B) == row)[:, None], 0.3)
    archer = on(es.make("archer", share=0.3), data)
    same(archer.eps_high, np.where(uncertain, 0.5, 0.2), data)
    same(archer.eps_low, np.where(uncertain, 0.5, 0.2), data)
    r, a, eps = data.ratio, data.advantages, np.where(uncertain, 0.4, 0.2)
    c = np.minimum(r, 1 + eps)
    up = np.where(1 / r > 3, -3 * a, np.where(r <= 1 + eps, -a / c, 0))
    down = np.where((r >= 1 - eps) & (r < 3), -a * r, 0)
    expected = np.where(a > 0, up, down) * (a != 0)
    same(torch.from_numpy(slopes(on(es.make("aspo", share=0.3), data), data)), expected * data.mask, data)


@EVERY
def test_bapo(data: Data) -> None:
    r, a = data.ratio, data.advantages * data.mask

    def balanced(low: float, high: float) -> bool:
        positive = (r * a)[(a > 0) & (r <= high)].sum()
        negative = -(r * a)[(a < 0) & (r >= low)].sum()
        return positive >= 1.0 * negative

    low, high = 0.6, 1.2
    while not balanced(low, high) and low < 0.8 - 1e-9:
        low += 0.05
    while not balanced(low, high) and high < 2 - 1e-9:
        high += 0.05
    changed = on(es.make("bapo_balanced"), data)
    assert (changed.eps_low, changed.eps_high) == pytest.approx((1 - low, high - 1))


@EVERY
def test_flexible_clip(data: Data) -> None:
    p = np.exp(data.old_logp)
    grow, fall = 0.50 - 0.25 * p, 0.30 - 0.13 * p
    for mode in ("id", "did"):
        control = EntropyControl(es.make("flexible_clip", steps=4, mode=mode))
        for step in range(5):
            batch = data.batch()
            changed = control.apply(es.ppo(batch), batch)
            lam = 1 - 2 * step / 4
            if lam > 0:
                share = lam if mode == "id" else 1 - lam
                high, low = share * grow + (1 - share) * 0.2, 0.2
            else:
                high = 0.2 if mode == "id" else grow
                low = (1 + lam) * fall - lam * 0.2
            same(torch.as_tensor(changed.eps_high), high + np.zeros((B, T)), data)
            same(torch.as_tensor(changed.eps_low), low + np.zeros((B, T)), data)
            control.step()


def test_flexible_clip_oscillates() -> None:
    """A switch with two edges, the upper one decaying from the initial entropy to a fifth of it."""
    link = es.make("flexible_clip", steps=100, mode="od").links[0]
    memory: dict[str, float] = {}
    seen = []
    for entropy in (1.0, 0.5, 0.15, 0.5, 0.97, 0.5, 0.15):
        summary = es.Summary({"tokens": 1.0, "entropy": entropy})
        memory = dict(link.remember(summary, memory))
        seen.append(memory["raising"])
    assert seen == [1.0 if x else 0.0 for x in (0, 0, 1, 1, 0, 0, 1)]


@pytest.mark.parametrize(("above", "moves"), [(True, -1), (False, 1)])
def test_adaptive_clips(above: bool, moves: int) -> None:
    data = DATA[0]
    target = data.mean_entropy + (-0.2 if above else 0.2)
    adapo = after(es.make("adapo", target=target), data).state[0].knobs["eps_high"].output
    assert adapo == pytest.approx(0.28 * 2.0**moves)
    mai = es.make("mai_clip", target=target)
    base = 1 / 0.4 - 1
    assert after(mai, data, steps=0).state[0].knobs["eps_high"].output == pytest.approx(base)
    assert after(mai, data, steps=2).state[0].knobs["eps_high"].output == pytest.approx(base + (0 if above else 0.5))


# -- terms -------------------------------------------------------------------------------------------------------------------


@EVERY
def test_lp_reg(data: Data) -> None:
    proxy = data.min_p(0.1)
    negative = data.mask & (data.advantages < 0)
    chosen = top(-data.logp, negative, 0.4) & (data.logp < proxy)
    changed = on(es.make("lp_reg", share=0.4, kappa=0.1, coef=0.7), data, old={MinP(0.1): proxy})
    assert (changed.eps_low, changed.eps_high) == (1.0, 9.0)
    (term,) = changed.terms
    d = np.where(chosen, proxy - data.logp, 0)
    expected = 0.7 * (np.exp(d) - d - 1)[chosen].sum()
    assert term.sum(data.batch(old={MinP(0.1): proxy})).item() == pytest.approx(expected, abs=1e-9)


@EVERY
def test_siren(data: Data) -> None:
    of = Nucleus(0.8, crossing=False, most=10_000, gradient=True)
    value = data.nucleus(0.8)
    selected = np.zeros_like(data.mask)
    for row in range(B):
        selected |= top(value, data.mask & (np.arange(B) == row)[:, None], 0.2)
    rows = (value * selected).sum(1) / selected.sum(1)
    changed = on(es.make("siren", anchor=0.3), data, extra={of: value})
    (term,) = changed.terms
    # The gradient of 0.005 (E - 0.3)^2 is the term's: a factor on the gradient of E.
    slope = 2 * 0.005 * (rows.mean() - 0.3)
    assert term.loss(data.batch({of: value})).item() == pytest.approx(slope * rows.mean())
    free = after(es.make("siren"), data, extra={of: value})
    assert free.state[0].memory["anchor"] == pytest.approx(rows.mean())


@pytest.mark.parametrize(
    ("name", "options", "of", "sign"),
    [
        ("aent", {"coef": 0.1}, Clamped(0.3, gradient=True), -1),
        ("tre", {"coef": 0.1}, Nucleus(0.9, gradient=True), -1),
        ("tre", {"coef": 0.1, "top_p": None, "top_k": 5}, TopKEntropy(5, gradient=True), -1),
        ("reheat", {"coef": 0.1, "temperature": 1.4}, Reheated(1.4, gradient=True), 1),
    ],
)
def test_bonus_forms(name: str, options: dict, of: Any, sign: int) -> None:
    data = DATA[0]
    value = np.random.default_rng(5).uniform(size=(B, T))
    (term,) = on(es.make(name, **options), data, extra={of: value}).terms
    assert term.loss(data.batch({of: value})).item() == pytest.approx(sign * 0.1 * value[data.mask].mean())


def test_bonus_schedules_and_the_band_of_aent() -> None:
    data = DATA[0]
    for name, middle in (("linear_bonus", 0.005), ("cosine_bonus", 0.005)):
        coefs = [after(es.make(name, steps=4), data, steps=n).state[0].knobs["coef"].output for n in (0, 2, 4, 5)]
        assert coefs == pytest.approx([0.01, middle, 0.0, 0.0])
    extra = {Clamped(0.3, gradient=True): data.entropy}
    low = Band(data.mean_entropy + 0.2, data.mean_entropy + 0.5)
    control = after(es.make("aent", coef=0.01, band=low, rate=0.05), data, steps=2, extra=extra)
    # c -= rate * (H - low) for each of two steps below the band
    assert control.state[0].knobs["coef"].output == pytest.approx(0.01 + 2 * 0.05 * 0.2)


# -- where rewards become advantages -----------------------------------------------------------------------------------------


@EVERY
def test_qae(data: Data) -> None:
    for kind in ("linear", "higher", "lower"):
        expected = by_group(
            data,
            lambda r, _, kind=kind: (r - np.quantile(r, 0.4, method=kind)) / (r.std(ddof=1) + 1e-6),
        )
        np.testing.assert_allclose(scored(es.make("qae", interpolation=kind), data), expected, atol=1e-5)


@EVERY
def test_asym_grpo(data: Data) -> None:
    def formula(r: np.ndarray, _: Any) -> np.ndarray:
        q = r.mean()
        return np.zeros_like(r) if q in (0, 1) else np.where(r == 1, ((1 - q) / q) ** 0.9, -((q / (1 - q)) ** 0.4))

    np.testing.assert_allclose(scored(es.make("asym_grpo"), data), by_group(data, formula), rtol=1e-12)


@EVERY
def test_pass_at_k(data: Data) -> None:
    """By enumeration: the mean over all pairs of a group of whether one of them is right, normalized, then each row's share."""
    from itertools import combinations

    def formula(r: np.ndarray, _: Any) -> np.ndarray:
        pairs = list(combinations(range(len(r)), 2))
        best = np.array([max(r[i], r[j]) for i, j in pairs])
        sigma = math.sqrt(best.mean() * (1 - best.mean())) + 1e-6
        with_row = [np.mean([max(r[i], r[j]) for i, j in pairs if row in (i, j)]) for row in range(len(r))]
        return (np.array(with_row) - best.mean()) / sigma

    np.testing.assert_allclose(scored(es.make("pass_at_k", k=2), data), by_group(data, formula), atol=1e-9)


@EVERY
def test_unlikeliness(data: Data) -> None:
    means = (data.old_logp * data.mask).sum(1) / data.mask.sum(1)

    def formula(r: np.ndarray, rows: np.ndarray) -> np.ndarray:
        rank = np.array([(means[rows] < means[row]).sum() for row in rows])
        shaped = r * (1 - 0.25 * rank / len(rows))
        return (shaped - shaped.mean()) / (shaped.std(ddof=1) + 1e-4)

    np.testing.assert_allclose(scored(es.make("unlikeliness"), data), by_group(data, formula), atol=1e-9)


@EVERY
def test_edge(data: Data) -> None:
    means = (data.entropy_of(old=data.stale) * data.mask).sum(1) / data.mask.sum(1)
    np.testing.assert_allclose(scored(es.make("edge_masked"), data), data.grpo * means.mean() / means, rtol=1e-9)


@EVERY
def test_wapo(data: Data) -> None:
    method = es.make("wapo", longest=20)
    np.testing.assert_allclose(
        scored(method, data), by_group(data, lambda r, _: np.maximum(r - r.mean(), 0)), atol=1e-12
    )
    batch = data.batch()
    changed = on(method, data)
    token_sum = es.methods.token_loss(es.ppo(batch, eps_low=1.0, eps_high=0.2), batch).masked_fill(~batch.mask, 0).sum()
    assert es.loss(changed, batch).item() == pytest.approx(token_sum.item() / (B * 20))


@EVERY
def test_entrocraft(data: Data) -> None:
    signed = np.nan_to_num(np.where(data.rewards == 0, -1.0, data.rewards))
    for edges, expected in (
        ((0.0, data.mean_entropy / 2), np.maximum(signed, 0)),
        ((data.mean_entropy + 0.1, data.mean_entropy + 0.2), np.minimum(signed, 0)),
        ((0.0, data.mean_entropy + 0.2), data.grpo),
    ):
        method = es.make("entrocraft", band=Band(*edges))
        np.testing.assert_allclose(scored(method, data, after(method, data)), expected)


@EVERY
def test_aepo_qwenlong(data: Data) -> None:
    level = data.mean_entropy
    hot = es.make("aepo_qwenlong", low=level / 3, high=level / 2)
    kept = after(hot, data).score(data.rollouts()).keep_B
    assert kept is not None
    np.testing.assert_array_equal(kept.numpy(), data.grpo > 0)
    cool = es.make("aepo_qwenlong", low=level / 3, high=level + 0.1)
    assert after(cool, data).score(data.rollouts()).keep_B is None
    # Hysteresis: between the edges it stays as it was.
    link = hot.links[0]
    between = es.Summary({"tokens": 1.0, "entropy": 0.4 * level})
    assert link.remember(between, {"too_high": 1.0}) == {"too_high": 1.0}
    assert link.remember(between, {"too_high": 0.0}) == {"too_high": 0.0}


def test_unscored_rows_have_no_advantage_under_any_method() -> None:
    data = DATA[3]
    for name in ("qae", "asym_grpo", "unlikeliness", "edge_masked", "entrocraft"):
        assert (scored(es.make(name), data)[np.isnan(data.rewards)] == 0).all(), name


# -- when sampling -----------------------------------------------------------------------------------------------------------


@EVERY
def test_scope(data: Data) -> None:
    """The mean over rows of what `score` leaves is the mean of GRPO over one group and alpha times that of the successes."""
    alpha, threshold = 0.25, 0.5
    for target, factor in ((data.mean_entropy + 0.1, 1.1), (data.mean_entropy - 0.03, 0.97), (9.0, 1.2)):
        control = after(es.make("scope", target=target, alpha=alpha, threshold=threshold), data)
        assert control.group_temperatures(2) == pytest.approx((1.0, factor))
        assert control.group_temperatures(20) == pytest.approx((1.0,) * 15 + (factor,) * 5)
        assert control.group_temperatures(1) == (1.0,)
        tempered = np.array(GROUPS) == 1
        own = np.where(data.rewards >= threshold, alpha * B / tempered.sum(), 0.0)  # NaN is no success
        main = data.rollouts().advantages.numpy() * B / (~tempered).sum()
        expected = np.where(np.isnan(data.rewards), 0, np.where(tempered, own, main))
        np.testing.assert_allclose(scored(control.method, data, control), expected, rtol=1e-12)
        control.apply(es.ppo(data.batch()), data.batch())
        metrics = control.step()
        assert metrics["entropy_control/scope/temperature"] == pytest.approx(factor)
        share = np.nanmean((data.rewards >= threshold)[tempered])
        assert metrics["entropy_control/scope/success_share"] == pytest.approx(share)
    assert EntropyControl(es.make("scope")).group_temperatures(8) == (1.0,) * 8  # nothing is measured yet


def test_rows_of_another_temperature_train_and_are_not_measured() -> None:
    data = DATA[1]
    whole, rows = dataclasses.replace(data.batch(), groups_B=None), torch.tensor(GROUPS) == 1
    mixed = dataclasses.replace(whole, tempered_B=torch.where(rows, 1.2, 1.0))
    alone, found, all_of_it = (EntropyControl(es.observe()) for _ in range(3))
    alone.observe(whole.rows(~rows))
    expected = alone.step()
    all_of_it.observe(whole)
    trained = all_of_it.step()
    for part in (rows, ~rows):  # in two micro-batches
        found.observe(mixed.rows(part))
    metrics = found.step()
    for name in ("mean", "std", "surprisal", "near_certain", "standard_error"):
        assert metrics[f"token_entropy/{name}"] == pytest.approx(expected[f"token_entropy/{name}"], rel=1e-12), name
    for name in ("measured", "sampling_gap"):
        assert metrics[f"entropy_control/{name}"] == pytest.approx(expected[f"entropy_control/{name}"], rel=1e-12), name
    for name in ("entropy_control/predicted", "token_entropy/flow", "token_entropy/tokens"):
        assert metrics[name] == pytest.approx(trained[name], rel=1e-12), name
    assert metrics["entropy_control/measured"] != pytest.approx(trained["entropy_control/measured"], rel=1e-3)


def test_e3_temperature() -> None:
    data = DATA[0]
    h = data.mean_entropy
    control = after(es.make("e3_temperature", vocabulary=11, target=1.5 * h), data, steps=2)
    t = 1.0
    for _ in range(2):
        t = t * (1 + t * math.log(1.5) / (math.log(11) + math.log(math.log(11))))
    assert control.temperature == pytest.approx(t)
    held = after(es.make("e3_temperature", vocabulary=11, first=2), data, steps=5)
    assert held.temperature == pytest.approx(1.0)  # the target is what it measured


def test_tampo_samples_where_good_completions_are_likely() -> None:
    data = DATA[0]
    temperatures = (0.7, 1.0, 1.6)
    extra = {LogpAt(t): data.of_token(data.logp_V(temperature=t)) for t in temperatures}
    control = after(es.make("tampo", candidates=temperatures), data, extra=extra)
    means = np.stack([(extra[LogpAt(t)] * data.mask).sum(1) / data.mask.sum(1) for t in temperatures], 1)
    share = np.zeros_like(means)
    for row, scores in enumerate(means):  # sparsemax by bisection on its threshold
        low, high = scores.min() - 1, scores.max()
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(scores - middle, 0).sum() > 1 else (low, middle)
        share[row] = np.maximum(scores - low, 0)
    merit = 0.05 * (share * data.grpo[:, None]).mean(0)
    assert [control.state[0].memory[f"merit/{i}"] for i in range(3)] == pytest.approx(list(merit), abs=1e-9)
    assert control.temperature == temperatures[int(merit.argmax())]


# -- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("high_entropy_tokens", {"share": 20}, "a percentage is divided by 100"),
        ("clip_cov", {"share": 0.0}, "share of the tokens"),
        ("clip_cov", {"low": 5.0, "high": 1.0}, "low must be below high"),
        ("steer", {"w_min": 0.0}, "w_min"),
        ("stare", {"scope": "sequence"}, "scope must be one of"),
        ("opefo", {"change": "eq6"}, "change must be"),
        ("qae", {"quantile": 1.0}, "quantile"),
        ("qae", {"interpolation": "nearest"}, "interpolation"),
        ("pass_at_k", {"k": 0}, "k must be"),
        ("unlikeliness", {"beta": 2.0}, "beta"),
        ("erc", {"low": 1.1}, "around 1"),
        ("aepo_qwenlong", {"low": 0.5, "high": 0.2}, "low must be below high"),
        ("bapo_balanced", {"low": (0.8, 0.6)}, "smallest first"),
        ("mai_clip", {"eps": 1.0}, "eps must lie"),
        ("adapo", {"start": 5.0}, "start must have a size"),
        ("aent", {"coef": 0.5, "band": Band(0.1, 0.2)}, "start must lie within limits"),
        ("tre", {"top_k": 3}, "give one of top_p and top_k"),
        ("reheat", {"temperature": 0.9}, "above 1"),
        ("dcpo", {"hot": 0.9}, "either side of 1"),
        ("flexible_clip", {"steps": 1}, "steps must be"),
        ("flexible_clip", {"steps": 9, "mode": "x"}, "mode must be"),
        ("wapo", {"longest": 0}, "longest"),
        ("lopti", {"eta": 1.0}, "eta"),
        ("ar", {"alpha": 2.0}, "alpha"),
        ("rsi_s", {"low": 3.0, "high": 1.0}, "low must be below"),
        ("stapo", {"prob": 0.0}, "prob must be a number in"),
        ("ulorl", {"threshold": 1.0}, "threshold must be a number in"),
        ("e3_temperature", {"vocabulary": 2}, "vocabulary"),
        ("tampo", {"candidates": (1.0,)}, "two temperatures"),
        ("entrocraft", {"band": 0.3}, "band must be a Band"),
        ("asym_grpo", {"b_pos": -1.0}, "b_pos must be"),
        ("siren", {"coef": -1.0}, "coef"),
        ("scope", {"alpha": 1.0}, "alpha must be"),
        ("scope", {"limits": (1.1, 1.2)}, "limits must be temperatures around 1"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(name: str, options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        es.make(name, **options)


@pytest.mark.parametrize("name", ["asym_grpo", "pass_at_k", "entrocraft"])
def test_rewards_that_are_not_right_or_wrong_are_refused(name: str) -> None:
    rollouts = DATA[0].rollouts()
    method = es.make(name, band=Band(0.0, 0.001)) if name == "entrocraft" else es.make(name)
    control = after(method, DATA[0])
    with pytest.raises(DataError, match=r"rewards of 0 or 1"):
        control.score(rollouts.replace(rewards_B=rollouts.rewards_B + 0.3))
    with pytest.raises(ConfigError, match="k must be at most"):
        EntropyControl(es.make("pass_at_k", k=9)).score(rollouts)


def test_rows_that_stay_are_one_flag_each() -> None:
    with pytest.raises(DataError, match=rf"keep_B must have shape \({B},\), got"):
        DATA[0].rollouts().replace(keep_B=torch.ones(B + 1, dtype=torch.bool))
