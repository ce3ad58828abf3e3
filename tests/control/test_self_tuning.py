"""Self-tuning control: the estimator is the textbook's, the poles are where they should be, and the loop closes."""

import itertools
import json
import math
import random
import statistics
from dataclasses import replace

import numpy as np
import pytest

from entrostat.control import Band, Initial, Linear, SelfTuning
from entrostat.control.base import from_dict, to_dict
from entrostat.control.effect import Effect, grid
from entrostat.control.estimator import GAIN_SD, LEAST_LEARNED, corrected, first_estimate, predicted, wandered
from entrostat.control.self_tuning import SETTLED, SelfTuningState
from entrostat.errors import ConfigError, DataError
from entrostat.lab import Event, LinearPlant, closed_loop

START = 0.26


def plant(
    controller,
    steps,
    *,
    gain=0.0025,
    drift=-0.001,
    momentum=0.9,
    noise=0.0,
    wander=0.0,
    delay=1,
    seed=0,
    jumps=(),
    told=None,
):
    """True entropies and the controller's states on the plant that the module's docstring states."""
    rng = random.Random(seed)
    level, velocity, state = START, 0.0, controller.init()
    levels, states = [], []
    for step in range(1, steps + 1):
        level += dict(jumps).get(step, 0.0)
        before = state
        state = controller.step(state, level + rng.gauss(0, noise), standard_error=told)
        output = before.output if delay else state.output
        lowering = -output if controller.action == "raise" else output
        now = gain(step / steps) if callable(gain) else gain
        push = drift - now * lowering + rng.gauss(0, wander)
        velocity += (1 - momentum) / (1 - momentum**step) * (push - velocity)  # as Adam corrects its first moment
        levels.append(level)
        states.append(state)
        level += velocity
    return levels, states


def matrix(e):
    return np.array(
        [
            [e.level_level, e.level_drift, e.level_gain],
            [e.level_drift, e.drift_drift, e.drift_gain],
            [e.level_gain, e.drift_gain, e.gain_gain],
        ]
    )


def kalman_filter(outputs, measurements, momentum):
    """Yields (estimate, mean, covariance) of ours and of a textbook's Kalman filter with the same noises, step by step."""
    estimate = wandered(first_estimate(SelfTuningState(), START, None, 5.0))
    mean, covariance = np.array([estimate.level, estimate.drift, estimate.gain]), matrix(estimate)
    lagged, observe = 0.0, np.array([1.0, 0, 0])
    for step, (output, measured) in enumerate(zip(outputs, measurements, strict=True), start=1):
        estimate = predicted(estimate, output, momentum)
        lagged = momentum * lagged + (1 - momentum) * output
        transition = np.array([[1, 1, -lagged], [0, 1, 0], [0, 0, 1]])
        mean, covariance = transition @ mean, transition @ covariance @ transition.T
        noise = estimate.noise
        spread = observe @ covariance @ observe + noise
        weight = covariance @ observe / spread
        learned = weight[2] ** 2 * spread / covariance[2, 2]
        estimate = corrected(estimate, measured, None, step, (2.0, 30.0))
        if learned < LEAST_LEARNED * estimate.memory / 30:
            weight[1] -= lagged * weight[2]
            weight[2] = learned = 0.0
        innovation, gain = measured - mean[0], mean[2]
        mean = mean + weight * innovation
        joseph = np.eye(3) - np.outer(weight, observe)  # of any weight
        covariance = joseph @ covariance @ joseph.T + noise * np.outer(weight, weight)
        along = np.array([0, lagged, 1.0])
        covariance += learned * (GAIN_SD * gain) ** 2 * innovation**2 / spread * np.outer(along, along)
        covariance += estimate.noise * np.diag([estimate.memory**-2, estimate.memory**-4, 0])
        estimate = wandered(estimate)
        yield estimate, mean, covariance


def test_the_estimator_is_the_kalman_filter_of_its_plant():
    rng = random.Random(0)
    outputs = [rng.uniform(-2, 2) for _ in range(20)] + [0.5] * 20
    measurements = [START - 0.002 * step + rng.gauss(0, 0.005) for step in range(40)]
    for estimate, mean, covariance in kalman_filter(outputs, measurements, 0.8):
        np.testing.assert_allclose([estimate.level, estimate.drift, estimate.gain], mean, rtol=1e-9)
        np.testing.assert_allclose(matrix(estimate), covariance, rtol=1e-6, atol=1e-16)


@pytest.mark.parametrize("known", [False, True])
def test_thousands_of_quiet_steps_move_neither_gain_nor_drift(known):
    """What is learned on the way to the target stays: true gain 0.0075 and drift -0.003 of the start. It was 0.25 and -0.05."""
    controller = SelfTuning(0.75 * START, settling=30, action="lower")
    noise = 0.01 * START
    gain = 0.015 * START  # of an effort, a quarter of the range
    levels, states = plant(
        controller, 4_000, gain=gain, drift=-0.003 * START, momentum=0.86, noise=noise, told=noise if known else None
    )
    for state in states[100::100]:
        assert state.gain == pytest.approx(gain, rel=0.5)
        assert state.drift == pytest.approx(-0.003 * START, abs=0.0025 * START)
        assert state.gain_sd < 0.5 * gain
    late = levels[100:]
    assert abs(sum(late) / len(late) - controller.target) < 0.1 * noise
    assert math.sqrt(sum((level - controller.target) ** 2 for level in late) / len(late)) < 0.5 * noise


def test_a_gain_that_grows_under_noise_is_found_in_a_quiet_loop():
    """As the tiny policy held at 75 % for 1,000 steps: gain times 3, noise times 2.5, and the level wanders ten times as much.

    A dead zone of one width kept the gain of step 250, and the loop swung: 0.16 of the target, 0.20 at worst.
    """
    target, worst = 0.2, []
    for seed in range(6):
        rng, controller = random.Random(seed), SelfTuning(0.2, settling=30, limits=(-1, 1))
        level, lagged, state, apart = 0.25, 0.0, controller.init(), []
        for step in range(1_000):
            grown = min(step / 700, 1.0)
            drift, reach = rng.gauss(-0.005, 0.002), rng.uniform(0.014, 0.022)  # of this batch
            outputs = grid(controller.limits)
            *changes, acting = (drift + reach * math.tanh(1.2 * u) / math.tanh(1.2) for u in (*outputs, state.output))
            effect = Effect(outputs, tuple(changes), acting)
            noise = 0.011 * 2.5**grown
            state = controller.step(state, max(level + rng.gauss(0, noise), 0.0), effect, noise)
            lagged += 0.18 * (effect.acting - lagged)
            level = max(level + 0.001 + 0.42 * 3**grown * lagged + rng.gauss(0, 0.0007 * 11**grown), 0.0)
            apart.append(level / target - 1)
        worst.append(math.sqrt(sum(each**2 for each in apart[600:]) / 400))
        assert math.sqrt(sum(each**2 for each in apart[100:500]) / 400) < 0.06
    assert statistics.median(worst) < 0.15 and max(worst) < 0.2, worst


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_a_gain_that_grows_sevenfold_in_much_noise_is_found(noise):
    """No measurement alone tells of it. The belief stayed at six tenths of the true gain, and at half for 700 steps."""
    believed, kept = [], []
    for seed in range(8):
        for grown in (1, 7):
            controller = SelfTuning(0.75 * START, settling=30, action="lower")
            gain = lambda share, grown=grown: 0.006 * START * (grown if share > 0.3 else 1)  # noqa: E731
            _, states = plant(
                controller, 1_500, gain=gain, drift=-0.003 * START, momentum=0.86, noise=noise * START, seed=seed
            )
            (kept if grown == 1 else believed).append(states[-1].gain / gain(1))
    assert 0.8 < statistics.median(believed) < 1.3 and min(believed) > 0.5, believed
    assert statistics.median(kept) < 1.8, kept


def test_a_gain_that_grows_slowly_while_nothing_else_happens_is_followed():
    """Tenfold in 6,000 steps: the estimate fell behind to a fifth, and the loop answered each batch too strongly."""
    believed = []
    for seed in range(6):
        controller = SelfTuning(0.75 * START, settling=30, action="lower")
        courses = {"gain": lambda share: 0.005 * 10**share * START, "drift": -0.003 * START, "momentum": 0.86}
        _, states = plant(controller, 6_000, **courses, noise=0.01 * START, seed=seed)
        believed += [states[step].gain / courses["gain"](step / 6_000) for step in range(499, 6_000, 500)]
    assert 0.7 < statistics.median(believed) < 1.4
    assert min(believed) > 0.3, believed


@pytest.mark.parametrize("share", [0.2, 1.0, 3.0])
def test_a_wrong_standard_error_makes_no_swings(share):
    """As where sequences are taken for independent although several answer one prompt: the innovations say by how much."""
    controller = SelfTuning(0.75 * START, settling=30, action="lower")
    noise, apart = 0.05 * START, []
    for seed in range(4):
        levels, states = plant(
            controller, 1_000, gain=0.015 * START, drift=-0.003 * START, noise=noise, told=share * noise, seed=seed
        )
        apart += [level - controller.target for level in levels[300:]]
        assert states[-1].excess == pytest.approx(share**-2, rel=0.8)
    assert math.sqrt(sum(each**2 for each in apart) / len(apart)) < 0.6 * noise


def test_a_standard_error_that_goes_with_its_mean_moves_no_level():
    """A few prompts carry the entropy: the batch that happens to lie high has the larger standard error.

    Weighing each batch by its own put the believed level 9 % below the entropy, and that 6 % above its target.
    """
    apart, below = [], []
    for seed in range(4):
        rng, controller = random.Random(seed), SelfTuning(0.2, settling=30, limits=(-1, 1), action="lower")
        level, lagged, state = 0.25, 0.0, controller.init()
        for step in range(800):
            prompts = [level * rng.expovariate(1) for _ in range(16)]
            error = statistics.stdev(prompts) / 4
            state = controller.step(state, statistics.fmean(prompts), None, error)
            lagged += 0.18 * (state.output - lagged)
            level += -0.0005 - 0.002 * lagged + rng.gauss(0, 0.002)
            if step >= 100:
                apart.append(level / controller.target - 1), below.append(state.level / level - 1)
    assert abs(statistics.fmean(apart)) < 0.02 and abs(statistics.fmean(below)) < 0.02


@pytest.mark.parametrize("updates", [2, 4, 6, 8, 16])
@pytest.mark.parametrize("repeated", [True, False])
def test_updates_on_one_batch_make_no_swings(updates, repeated):
    """One measurement counts once. Growing swings from six updates on is what four measurements of one batch's noise gave."""
    noise = 0.01 * START
    for seed in range(3):
        rng = random.Random(seed)
        controller = SelfTuning(0.75 * START, settling=30, action="lower")
        level, velocity, state, levels, offset = START, 0.0, controller.init(), [], 0.0
        for step in range(1, 601):
            fresh = step % updates == 1
            if fresh:
                offset, seen = rng.gauss(0, noise), level
            before = state
            value = (seen if repeated else level) + offset
            state = controller.step(state, value, fresh=None if repeated else fresh)
            push = -0.003 * START - 0.015 * START * before.output
            velocity += 0.14 / (1 - 0.86**step) * (push - velocity)
            levels.append(level)
            level += velocity
        swings = [max(abs(h - 0.75 * START) for h in levels[i : i + 150]) / START for i in (150, 300, 450)]
        assert max(swings[1:]) < 0.03, (seed, swings)
        assert abs(sum(levels[300:]) / 300 - 0.75 * START) < 0.0075 * START


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("settling", [10, 30, 80])
def test_both_poles_lie_where_the_settling_time_puts_them(momentum, settling):
    """The loop of the docstring's law on the docstring's plant, as a matrix in (e, w)."""
    rho, gain = SelfTuning(0.3, settling=settling).pole, 0.003
    k_e = (1 - rho) ** 2 / (gain * (1 - momentum))
    k_w = (rho**2 - momentum) / (1 - momentum)
    to_w = np.array([(1 - momentum) * k_e, momentum + (1 - momentum) * k_w])  # w[t] from (e[t], w[t-1])
    loop = np.array([[1, 0], [0, 0]]) + np.outer([-gain, 1], to_w)
    np.testing.assert_allclose(np.linalg.eigvals(loop), [rho, rho], atol=1e-6)


@pytest.mark.parametrize(("asked", "own"), [(10, 10), (16, 16), (20, 16), (25, 18.75), (100, 75)])
def test_a_quarter_of_the_settling_time_is_for_finding_out_the_plant(asked, own):
    assert SelfTuning(0.3, settling=asked).time_constant == pytest.approx(own / SETTLED)


def test_a_double_pole_has_settled_within_five_percent_after_the_settling_time():
    assert (1 + SETTLED) * math.exp(-SETTLED) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("gain", [0.0015, 0.0025, 0.008])
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0, 1.25])
def test_it_finds_its_gains_on_plants_that_it_does_not_know(share, gain, momentum, delay):
    controller = SelfTuning(share * START, settling=30, momentum=momentum, delay=delay, action="lower")
    levels, states = plant(controller, 120, gain=gain, momentum=momentum, noise=0.002, wander=0.0003, delay=delay)
    target = share * START
    late = levels[60:]
    assert math.sqrt(sum((h - target) ** 2 for h in late) / len(late)) < 0.03 * target
    beyond = max((h - target) * (1 if share >= 1 else -1) for h in levels)
    assert beyond < 0.1 * target
    outside = [t for t, h in enumerate(levels) if abs(h - target) > max(0.1 * abs(START - target), 0.05 * target)]
    assert max(outside, default=0) < 50
    assert states[-1].reachable == 1


@pytest.mark.parametrize(("noise", "ramp", "gain", "most"), [(0.01, 2e-4, 0.01, 0.068), (0.04, 0.0, 0.03, 0.037)])
def test_a_growing_drift_is_followed_and_noise_is_not(noise, ramp, gain, most):
    """Error over the second half. With drifts followed at one pace, by a loop that takes all of its time: 0.075 and 0.043."""
    plant = LinearPlant(gain * START, momentum=0.86, start=START, noise=noise * START)
    grows = [Event(at=step, drift=step * ramp * START) for step in range(1, 75)]
    traces = [closed_loop(plant, SelfTuning(START / 2, 25), 75, seed=seed, events=grows) for seed in range(12)]
    errors = [[entropy / (START / 2) - 1 for entropy in trace.entropy[37:]] for trace in traces]
    assert sum(math.sqrt(sum(e**2 for e in each) / len(each)) for each in errors) / len(errors) < most


@pytest.mark.parametrize("share", [0.75, 1.25])
@pytest.mark.parametrize("gain", [0.01, 0.02])
def test_a_gain_far_above_the_prior_does_not_overshoot(gain, share):
    """What turns out to be too much is taken back at once, though it was commanded little by little."""
    levels, states = plant(SelfTuning(share * START, 15, momentum=0.86, action="lower"), 60, gain=gain, momentum=0.86)
    steps = [later.output - now.output for now, later in itertools.pairwise([SelfTuningState(), *states])]
    way = (share - 1) * START
    assert max((h - START) / way for h in levels) < 1.2
    assert max(map(abs, steps[:3])) <= 0.4 + 1e-12 < max(map(abs, steps))  # a tenth of the range


def test_gain_and_drift_are_found():
    _, states = plant(SelfTuning(0.5 * START, action="lower"), 100, noise=0.003)
    assert states[-1].identified == 1
    assert states[-1].gain == pytest.approx(0.0025, rel=0.25)
    assert states[-1].drift == pytest.approx(-0.001, abs=3e-4)
    assert math.sqrt(states[-1].noise) == pytest.approx(0.003, rel=0.3)


@pytest.mark.parametrize("jump", [0.2, -0.2, 0.4])
def test_a_jump_of_the_level_is_not_taken_for_a_drift(jump):
    """A switched task or another temperature: back within a settling time or two, and hardly beyond the target."""
    for seed in range(10):
        controller = SelfTuning(0.75 * START, settling=25)
        levels, states = plant(controller, 110, noise=0.004, seed=seed, jumps=[(50, jump * START)])
        assert [step for step, state in enumerate(states, start=1) if state.jumped] == [51]
        after = [(level / controller.target - 1) * math.copysign(1, jump) for level in levels[49:]]
        assert after[0] > 0.15
        assert min(after) > -0.08, seed
        assert max(map(abs, after[40:])) < 0.06, seed


def test_one_wild_measurement_moves_neither_drift_nor_gain():
    controller = SelfTuning(START, settling=25)
    _, states = plant(controller, 60, noise=0.004)
    usual, wild = (controller.step(states[-1], value) for value in (START, 1.5 * START))
    assert wild.outlier == 1 and usual.outlier == 0 and not wild.jumped
    assert wild.level == pytest.approx(usual.level, rel=0.01)
    assert wild.drift == pytest.approx(states[-1].drift, abs=0.1 * abs(states[-1].drift) + 1e-5)
    assert wild.gain == pytest.approx(states[-1].gain, rel=0.05)
    assert states[-1].noise < wild.noise < 1.8 * states[-1].noise  # were they all as wild, it would be noise


def test_noise_that_grows_is_found_out():
    """Ten times the noise in mid-run: wild measurements on both sides, and soon none of them."""
    controller, rng = SelfTuning(START, settling=25), random.Random(1)
    _, states = plant(controller, 60, noise=0.002)
    state, wild = states[-1], []
    for _ in range(60):
        state = controller.step(state, START + rng.gauss(0, 0.02))
        wild.append(bool(state.outlier))
    assert any(wild[:5]) and not any(wild[20:])
    assert 0.01 < math.sqrt(state.noise) < 0.04


def test_an_actuator_that_raises_is_the_mirror_image_of_one_that_lowers():
    lowering, raising = (
        SelfTuning(0.2, limits=(-1, 1.5), action="lower"),
        SelfTuning(0.2, limits=(-1.5, 1), action="raise"),
    )
    down, states_down = plant(lowering, 60, noise=0.003)
    up, states_up = plant(raising, 60, noise=0.003)
    assert up == pytest.approx(down, rel=1e-12)
    assert [s.output for s in states_up] == pytest.approx([-s.output for s in states_down], rel=1e-9)
    assert [s.saturated for s in states_up] == [-s.saturated for s in states_down]


@pytest.mark.parametrize("limit", [0.5, 1.0, 40.0])
def test_an_actuator_s_units_make_no_difference_where_its_effect_is_known(limit):
    """An effort is a share of what the limits can make, so that the prior of its gain means the same with any of them."""
    share, here, there = limit / 2, SelfTuning(0.2, 25, (-2, 2)), SelfTuning(0.2, 25, (-limit, limit))
    one, two = here.init(), there.init()
    rng = random.Random(0)
    for _ in range(12):
        measured, slope = rng.gauss(START, 0.01), rng.uniform(0.5, 1.5)
        outputs = (-2, -0.5, 0.0, 0.5, 2)
        changes = tuple(-0.2 - slope * u for u in outputs)
        one = here.step(one, measured, Effect(outputs, changes, -0.2 - slope * one.output))
        there_outputs = tuple(share * u for u in outputs)
        two = there.step(two, measured, Effect(there_outputs, changes, -0.2 - slope * two.output / share))
        assert two.effort == pytest.approx(one.effort, rel=1e-9, abs=1e-12)
        assert two.output == pytest.approx(share * one.output, rel=1e-9, abs=1e-12)


def test_an_actuator_s_units_make_no_difference_where_its_effect_is_not_known():
    """A clip range of 0.1 to 0.5 that starts at 0.2 does in a quarter of its range what weights within (-2, 2) do in one unit."""
    weights = SelfTuning(0.2, 25, (-1, 3), action="raise")
    clip = SelfTuning(0.2, 25, (0.1, 0.5), start=0.2, action="raise")
    one, two = weights.init(), clip.init()
    assert two.output == 0.2
    rng = random.Random(0)
    for _ in range(40):
        measured = rng.gauss(START, 0.02)
        one, two = weights.step(one, measured), clip.step(two, measured)
        assert two.effort == pytest.approx(one.effort, rel=1e-9, abs=1e-12)
        assert two.output == pytest.approx(0.2 + 0.1 * one.output, rel=1e-9)
        assert 0.1 <= two.output <= 0.5


def test_a_moving_target_is_followed_without_lag():
    """A proportional controller would trail a slope of 0.001 by slope / (g kp)."""
    target = Linear(START, START - 0.1, 100)
    levels, _ = plant(SelfTuning(target, action="lower"), 100, noise=0.001)
    assert max(abs(h - target.at(t)) for t, h in enumerate(levels) if t >= 50) < 0.004


@pytest.mark.parametrize(("drift", "edge"), [(-0.001, 0.2), (0.001, 0.32)])
@pytest.mark.parametrize("delay", [0, 1])
def test_a_band_leaves_the_entropy_alone_up_to_its_edge(drift, edge, delay):
    band, beyond = Band(0.2, 0.32), Band(*((0.2, 9.0) if drift < 0 else (0.0, 0.32)))
    for target in (band, beyond):
        levels, states = plant(
            SelfTuning(target, action="lower", delay=delay), 400, drift=drift, noise=0.001, delay=delay, told=0.001
        )
        assert all(state.output == 0 for state in states[:30])  # half of the way
        assert levels[30] == pytest.approx(START + 30 * drift, abs=0.01)
        assert min(levels) > 0.2 - 0.004 and max(levels) < 0.32 + 0.004  # it arrives without running through
        assert statistics.fmean(levels[200:]) == pytest.approx(edge, abs=0.002)
    everywhere, _ = plant(SelfTuning(Band(0.0, 9.0), action="lower"), 200, drift=drift, noise=0.001)
    assert everywhere[-1] == pytest.approx(START + 199 * drift, abs=0.01)


def test_a_band_without_width_is_its_level():
    narrow, level = (SelfTuning(target, action="lower") for target in (Band(0.2, 0.2), 0.2))
    assert plant(narrow, 100, noise=0.003)[0] == plant(level, 100, noise=0.003)[0]


def test_a_target_relative_to_the_start_is_that_of_the_first_measurement():
    levels, states = plant(SelfTuning(Initial(0.8), action="lower"), 90)
    assert states[-1].target == pytest.approx(0.8 * START)
    assert levels[-1] == pytest.approx(0.8 * START, rel=0.02)


def test_output_and_its_rate_stay_within_their_limits():
    controller = SelfTuning(0.1, limits=(-0.5, 1.0), rate=0.2, action="lower")
    _, states = plant(controller, 60, noise=0.01)
    outputs = [0.0, *(s.output for s in states)]
    assert all(-0.5 <= u <= 1.0 for u in outputs)
    assert max(abs(b - a) for a, b in itertools.pairwise(outputs)) <= 0.2 + 1e-12
    assert any(s.saturated for s in states)


def test_limits_do_not_wind_it_up():
    """A target that was out of reach for long and comes within it is held as soon as it can be."""
    controller = SelfTuning(0.35, limits=(-0.3, 0.3), action="lower")
    levels, states = plant(controller, 80)
    assert states[-1].output == -0.3
    reachable = replace(controller, target=levels[-1] - 0.005)
    after = states[-1]
    for step in range(7):  # a measurement that is the last one to the bit would be taken for the same batch
        after = reachable.step(after, levels[-1] + 1e-9 * step)
    assert after.output > -0.25


@pytest.mark.parametrize("seed", range(4))
def test_a_target_out_of_reach_is_reported_within_twenty_steps(seed):
    controller = SelfTuning(1.25 * START, limits=(-0.1, 0.1), action="lower")
    _, states = plant(controller, 20, noise=0.0045, wander=0.0006, seed=seed)
    assert states[-1].reachable == 0
    assert states[-1].reach_high < 1.25 * START


@pytest.mark.parametrize("seed", range(4))
def test_an_actuator_without_authority_is_not_taken_for_one(seed):
    controller = SelfTuning(1.25 * START, action="lower")
    _, states = plant(controller, 60, gain=0.0, noise=0.0045, wander=0.0006, seed=seed)
    assert states[-1].identified == 0
    assert states[-1].reachable == 0
    assert all(abs(s.output) <= 2 for s in states)


def test_a_state_survives_json_exactly_and_goes_on_alike():
    controller = SelfTuning(0.2, action="lower")
    _, states = plant(controller, 30, noise=0.004)
    restored = from_dict(controller.init(), json.loads(json.dumps(to_dict(states[-1]))))
    assert restored == states[-1]
    assert controller.step(restored, 0.25) == controller.step(states[-1], 0.25)


def test_a_measurement_of_zero_and_one_of_nan():
    controller = SelfTuning(0.2, action="lower")
    state = controller.step(controller.init(), 0.0)
    assert math.isfinite(controller.step(state, 0.0).output)
    with pytest.raises(DataError, match="nan"):
        controller.step(state, math.nan)


@pytest.mark.parametrize(
    "wrong",
    [
        {"settling": 1},
        {"settling": math.inf},
        {"settling": 1e300},
        {"limits": (-math.inf, 1.0)},
        {"limits": (0.0, 0.0)},
        {"rate": 0.0},
        {"deadband": -1},
        {"momentum": 1.0},
        {"delay": 2},
        {"target": -0.1},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SelfTuning(**{"target": 0.2, **wrong})


@pytest.mark.parametrize("seed", range(4))
def test_an_effect_of_the_wrong_sign_takes_the_output_back_to_neutral(seed):
    """The entropy would go to nothing or without bound; once seen, it is said and the output stays where it started."""
    controller = SelfTuning(0.75 * START, action="lower")
    levels, states = plant(controller, 300, gain=-0.01 * START, drift=0.0, momentum=0.86, noise=0.01 * START, seed=seed)
    assert states[-1].identified == -1 and states[-1].gain < 0
    assert all(state.output == 0 for state in states[150:])
    assert abs(levels[-1] / levels[160] - 1) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_at_a_limit_in_vain_the_output_goes_back_until_its_effect_shows(seed):
    """At full output the entropy rests 10 % below its target, far below at none: it must not be let go for long."""
    rng = random.Random(seed)
    controller = SelfTuning(1.0, limits=(-1.0, 1.0), action="raise")
    level, velocity, state, levels, away = 1.0, 0.0, controller.init(), [], 0
    for step in range(1, 2001):
        before = state
        state = controller.step(state, level + rng.gauss(0, 0.02), standard_error=0.02)
        push = 0.023 * before.output - 0.025 + 0.02 * (1 - level)
        velocity += 0.14 / (1 - 0.86**step) * (push - velocity)
        level += velocity + rng.gauss(0, 0.002)
        levels.append(level)
        away += state.neutral > 0
    assert 0 < away < 30
    assert min(levels[200:]) > 0.8 and sum(levels[200:]) / 1800 == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(("factor", "at"), [(10.0, 1), (10.0, 1000), (0.1, 1000)])
def test_a_gain_that_changes_tenfold_is_followed(factor, at):
    """Over a thousand steps, or at once. One that falls leaves a slower loop, and shows only once the loop has to move.

    One that grows in a thousand steps is believed too small for long; what counts is that the loop does not swing.
    """
    rng, start = random.Random(0), 0.01 if factor > 1 else 0.03
    controller = SelfTuning(0.75, settling=30, action="lower")
    level, velocity, state, levels = 1.0, 0.0, controller.init(), []
    for step in range(1, 2501):
        share = min(max((step - 500) / at, 0.0), 1.0)
        before = state
        state = controller.step(state, level + rng.gauss(0, 0.01))
        push = -0.001 - start * factor**share * before.output
        velocity += 0.14 / (1 - 0.86**step) * (push - velocity)
        level += velocity
        levels.append(level)
    late = [abs(level - 0.75) for level in levels[2000:]]
    assert max(late) < 0.04 and sum(levels[2000:]) / 500 == pytest.approx(0.75, abs=0.004)
    assert factor < 1 or (0.4 if at == 1 else 0.2) < state.gain / (start * factor) < 2.5
    assert math.sqrt(sum(each**2 for each in late) / 500) < 0.008  # 0.01 is one measurement's noise
