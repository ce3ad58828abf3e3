"""The closed forms against the controller that is shipped, in the linear plant that they are about."""

from __future__ import annotations

import cmath
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrostat.control import PI
from entrostat.errors import ConfigError
from entrostat.lab import Loop, holding_output, ki_range, place_poles
from entrostat.lab.stability import shortest_tau

CASES = list(itertools.product(("after", "before"), (0, 1)))
MOMENTA = (0.0, 0.5, 0.9)
FREE = (-math.inf, math.inf)  # the theory is about the linear loop, so the output is not limited
TARGET = 1000.0  # far from zero: a diverging loop must not reach entropies that no policy has


def errors(loop: Loop, steps: int, start: float = 1.0, drift: float = 0.0) -> list[float]:
    """Measured minus target at every step of `control.PI` on the linear plant."""
    controller = PI(TARGET, loop.kp, loop.ki, limits=FREE, integral_read=loop.integral_read)
    state, held, velocity, entropy, out = controller.init(), 0.0, 0.0, TARGET + start, []
    for _ in range(steps):
        out.append(entropy - TARGET)
        state = controller.step(state, entropy)
        applied = state.output if loop.delay == 0 else held
        held = state.output
        velocity = loop.momentum * velocity + (1 - loop.momentum) * (drift - loop.gain * applied)
        entropy += velocity
        if abs(entropy - TARGET) > 1e9:
            out.append(entropy - TARGET)
            break
    return out


def grows(loop: Loop, steps: int = 1200) -> bool:
    """Whether the error after many steps is larger than early on. Peaks over a stretch, since poles may be complex."""
    path, part = errors(loop, steps), steps // 6
    return len(path) < steps or max(map(abs, path[-part:])) > max(1e-9, *map(abs, path[part : 2 * part]))


@pytest.mark.parametrize(("read", "delay"), CASES)
def test_region_against_the_shipped_controller(read, delay) -> None:
    for g_kp in (0.05, 0.3, 0.7, 0.95, 1.2, 1.8, 2.2, 3.2, 3.9, 4.3):
        low, high = ki_range(g_kp, read, delay)
        # 3 % on either side of both edges: nearer to them decay and growth take longer than the simulation.
        inside = [low + share * (high - low) for share in (0.03, 0.5, 0.97)] if high else []
        outside = [high * 1.03 if high else 0.2, *([low * 0.97] if low else []), high + 2.5]
        for g_ki in inside:
            loop = Loop(g_kp / 0.5, g_ki / 0.5, gain=0.5, integral_read=read, delay=delay)
            assert loop.is_stable and loop.spectral_radius < 1 and loop.gain_margin > 1, loop
            assert not grows(loop), loop
        for g_ki in outside:
            loop = Loop(g_kp / 0.5, g_ki / 0.5, gain=0.5, integral_read=read, delay=delay)
            assert not loop.is_stable and loop.spectral_radius > 1 and loop.gain_margin < 1, loop
            assert grows(loop), loop


@pytest.mark.parametrize(("read", "delay"), CASES)
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_region_under_momentum_against_the_shipped_controller(read, delay, momentum) -> None:
    for share in (0.1, 0.5, 0.9):
        # Of the g kp that have a stable g ki at all.
        g_kp = share * ((2 * (1 + momentum) / (1 - momentum)) if delay == 0 else 1.0)
        low, high = ki_range(g_kp, read, delay, momentum)
        assert high > low >= 0
        width = high - low
        for g_ki in (low + 0.15 * width, low + 0.85 * width):
            loop = Loop(g_kp, g_ki, 1.0, read, delay, momentum)
            assert loop.is_stable and loop.spectral_radius < 1 and loop.gain_margin > 1, loop
            assert not grows(loop), loop
        for g_ki in (high + 0.15 * width, *([low - 0.15 * width] if low > 0.15 * width else [])):
            loop = Loop(g_kp, g_ki, 1.0, read, delay, momentum)
            assert not loop.is_stable and loop.spectral_radius > 1 and loop.gain_margin < 1, loop
            assert grows(loop), loop


@pytest.mark.parametrize(
    ("delay", "momentum", "limit"),
    [(0, 0.0, 2.0), (1, 0.0, 1.0), (0, 0.5, 6.0), (1, 0.5, 1.0), (0, 0.9, 38.0), (1, 0.9, 1.0)],
)
def test_proportional_region(delay, momentum, limit) -> None:
    for read in ("after", "before"):
        assert Loop(0.97 * limit, integral_read=read, delay=delay, momentum=momentum).is_stable
        assert not Loop(1.03 * limit, integral_read=read, delay=delay, momentum=momentum).is_stable
    assert not grows(Loop(0.97 * limit, delay=delay, momentum=momentum))
    assert grows(Loop(1.03 * limit, delay=delay, momentum=momentum))
    assert not Loop(0.0, delay=delay, momentum=momentum).is_stable  # nothing brings the entropy back


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("delay", [0, 1])
def test_verdicts_on_a_grid_of_gains(delay, momentum) -> None:
    """A coarse form of `benchmarks/quality/stability.py`: the controller decays where the closed form says so, and only there."""
    disagreed = 0
    verdicts = []
    for i, j in itertools.product(range(1, 8), range(7)):
        loop = Loop(0.16 * i, 0.3 * (1 - momentum) * j / 6, delay=delay, momentum=momentum)
        if abs(loop.spectral_radius - 1) > 0.01:  # nearer to one, decay and growth take longer than the simulation
            verdicts.append(loop.is_stable)
            disagreed += grows(loop, 500) == loop.is_stable
    assert disagreed == 0 and len(verdicts) > 20 and (delay == 0 or {*verdicts} == {True, False})


# In thousandths: gains of 1e-300 say nothing about the formulas.
GAINS = st.integers(0, 5000).map(lambda n: n / 1000)


@given(kp=GAINS, ki=GAINS, gain=st.floats(0.1, 3), case=st.sampled_from(CASES), momentum=st.sampled_from(MOMENTA))
@settings(max_examples=600, deadline=None)
def test_closed_form_poles_and_margin_agree(kp, ki, gain, case, momentum) -> None:
    loop = Loop(kp, ki, gain, *case, momentum)
    for pole in loop.poles:
        value = 0j
        for coefficient in loop.polynomial:
            value = value * pole + coefficient
        assert abs(value) < 1e-9 * (1 + abs(pole)) ** 3
    if abs(loop.spectral_radius - 1) > 1e-6:
        assert loop.is_stable == (loop.spectral_radius < 1)
    if loop.is_stable:
        assert Loop(kp, ki, gain * loop.gain_margin * 0.999, *case, momentum).is_stable
        assert not Loop(kp, ki, gain * loop.gain_margin * 1.001, *case, momentum).is_stable
        assert Loop(kp, ki, gain * 0.01, *case, momentum).is_stable
    if kp and ki:
        low, high = ki_range(gain * kp, *case, momentum)
        if min(abs(gain * ki - low), abs(gain * ki - high)) > 1e-9:
            assert loop.is_stable == (low < gain * ki < high)


@pytest.mark.parametrize(("read", "delay"), CASES)
@pytest.mark.parametrize("tau", [2.5, 5.0, 30.0])
def test_placed_poles(read, delay, tau) -> None:
    loop = place_poles(tau, gain=0.02, integral_read=read, delay=delay)
    rho = math.exp(-1 / tau)
    assert loop.is_stable
    assert loop.spectral_radius == pytest.approx(rho, rel=1e-6)
    assert sorted(abs(abs(pole) - rho) < 1e-6 for pole in loop.poles)[-2:] == [True, True]
    path = errors(loop, math.ceil(12 * tau))
    settled = 5.5 if delay == 0 else 9  # the third pole of the delayed loop slows it
    assert max(map(abs, path[math.ceil(settled * tau) :])) < 0.025


@pytest.mark.parametrize(("read", "delay"), CASES)
@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("damping", [1.0, 0.7, 0.3])
def test_placed_pairs(read, delay, momentum, damping) -> None:
    tau = max(20.0, 1.01 * shortest_tau(delay, momentum, damping))
    loop = place_poles(tau, 0.003, read, delay, momentum, damping)
    assert loop.is_stable and loop.momentum == momentum
    wanted = cmath.exp(complex(-1, math.sqrt(1 - damping**2) / damping) / tau)
    assert min(abs(pole - wanted) for pole in loop.poles) < 1e-4
    assert loop.spectral_radius == pytest.approx(abs(wanted), abs=1e-4)


@pytest.mark.parametrize(("delay", "momentum"), [(0, 0.9), (1, 0.0), (1, 0.5), (1, 0.9)])
@pytest.mark.parametrize("damping", [1.0, 0.7])
def test_nothing_is_placed_faster_than_the_poles_allow(delay, momentum, damping) -> None:
    shortest = shortest_tau(delay, momentum, damping)
    loop = place_poles(shortest * (1 + 1e-9), delay=delay, momentum=momentum, damping=damping)
    assert [abs(pole) for pole in loop.poles] == pytest.approx([math.exp(-1 / shortest)] * 3, abs=2e-3)
    with pytest.raises(ConfigError, match="tau must be at least"):
        place_poles(0.99 * shortest, delay=delay, momentum=momentum, damping=damping)


def test_critical_damping_of_a_proportional_loop_under_momentum() -> None:
    """docs/theory.md: with a delay the two poles meet at g kp = (1 - beta) / 4, and 0.7 of damping is at twice that."""
    for momentum in (0.5, 0.9, 0.95):
        meeting = Loop((1 - momentum) / 4, delay=1, momentum=momentum).poles
        assert [pole.real for pole in meeting] == pytest.approx([(1 + momentum) / 2] * 2, abs=1e-6)
        assert [pole.imag for pole in meeting] == pytest.approx([0, 0], abs=1e-6)
    pole = Loop(0.05, delay=1, momentum=0.9).poles[0]
    assert -cmath.log(pole).real / abs(cmath.log(pole)) == pytest.approx(0.69, abs=0.01)


def test_design_formulas() -> None:
    rho = math.exp(-1 / 8)
    after, before = place_poles(8, gain=0.1), place_poles(8, gain=0.1, integral_read="before")
    assert (0.1 * after.kp, 0.1 * after.ki) == pytest.approx((1 - rho**2, (1 - rho) ** 2))
    assert (0.1 * before.kp, 0.1 * before.ki) == pytest.approx((2 * (1 - rho), (1 - rho) ** 2))
    late = place_poles(8, gain=0.1, integral_read="before", delay=1)
    assert 0.1 * late.kp == pytest.approx((1 - rho) * (3 * rho - 1))
    assert max(abs(p) for p in late.poles if abs(abs(p) - rho) > 1e-3) == pytest.approx(2 * (1 - rho), rel=1e-6)


def test_step_response_and_its_overshoot() -> None:
    """docs/theory.md: e[t] = rho^(t-1) (rho - t (1 - rho)) without delay; the errors sum to zero, so it must overshoot."""
    tau, rho = 10.0, math.exp(-1 / 10)
    path = errors(place_poles(tau), 300)
    assert path == pytest.approx([rho ** (t - 1) * (rho - t * (1 - rho)) for t in range(300)], abs=1e-8)
    assert sum(path) == pytest.approx(0, abs=1e-8)
    # The depth of the overshoot tends to exp(-2) as the loop gets slow.
    assert min(errors(place_poles(200), 1000)) == pytest.approx(-math.exp(-2), abs=1e-3)


@pytest.mark.parametrize("read", ["after", "before"])
@pytest.mark.parametrize("delay", [0, 1])
def test_proportional_leaves_an_error_and_the_integral_removes_it(read, delay) -> None:
    drift, gain = -0.03, 0.5
    alone = Loop(0.4, 0.0, gain, read, delay)
    with_integral = Loop(0.4, 0.05, gain, read, delay)
    assert alone.steady_state_error(drift) == pytest.approx(-0.15)
    assert errors(alone, 400, drift=drift)[-1] == pytest.approx(-0.15, abs=1e-9)
    assert with_integral.steady_state_error(drift) == 0
    assert errors(with_integral, 1000, drift=drift)[-1] == pytest.approx(0, abs=1e-9)
    assert holding_output(drift, gain) == pytest.approx(-0.06)


def test_gains_for_no_delay_under_a_delay() -> None:
    """They survive one step of delay only for rho above 0.5437, the root of rho^3 + rho^2 + rho = 1: tau above 1.641."""
    for tau, stable in ((1.6, False), (1.7, True)):
        loop = place_poles(tau)
        assert Loop(loop.kp, loop.ki, delay=1).is_stable is stable


def test_delay_bounds_the_speed() -> None:
    # Three poles that add up to 2 cannot all lie inside 2/3.
    best = min(Loop(kp / 200, ki / 200, delay=1).spectral_radius for kp in range(1, 200, 3) for ki in range(1, 50, 2))
    assert 2 / 3 <= best < 0.72
    assert place_poles(1 / math.log(1.5) + 1e-9, delay=1).spectral_radius == pytest.approx(2 / 3, abs=1e-3)
    with pytest.raises(ConfigError, match=r"2\.466.*got 2\.4"):
        place_poles(2.4, delay=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Loop(-1.0), r"kp.*-1\.0"),
        (lambda: Loop(1.0, math.nan), "ki.*nan"),
        (lambda: Loop(1.0, gain=0.0), r"gain.*0\.0"),
        (lambda: Loop(1.0, delay=2), "delay.*2"),
        (lambda: Loop(1.0, integral_read="never"), "integral_read.*'never'"),
        (lambda: Loop(1.0, momentum=1.0), r"momentum.*1\.0"),
        (lambda: ki_range(1.0, momentum=-0.5), r"momentum.*-0\.5"),
        (lambda: place_poles(10.0, damping=0.0), r"damping.*0\.0"),
        (lambda: place_poles(0.0), r"tau.*0\.0"),
        (lambda: place_poles(math.inf), "tau.*inf"),
        (lambda: ki_range(-0.1), r"g_kp.*-0\.1"),
        (lambda: ki_range(1.0, delay=3), "delay.*3"),
        (lambda: holding_output(0.1, -1.0), r"gain.*-1\.0"),
    ],
)
def test_refusals_name_the_value(make, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_unstable_loop_has_no_steady_state() -> None:
    assert math.isnan(Loop(3.0, 1.0).steady_state_error(0.1))
    assert Loop(0.0, 1.0).gain_margin == 0
    assert Loop(0.3, 0.5, delay=1).gain_margin == 0
    assert ki_range(0.0) == ki_range(5.0) == ki_range(1.0, delay=1) == (0.0, 0.0)
