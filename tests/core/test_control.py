"""Control in a loop of one's own: a bandit whose entropy is held, and what the loop's author can get wrong."""

from __future__ import annotations

import copy
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lab.bandit_case import Bandit

import entrostat as es
from entrostat.control import PI, Linear
from entrostat.core.control import EntropyControl
from entrostat.errors import ConfigError, DataError, MissingStatistic
from entrostat.methods import Flow
from entrostat.stats import token_stats
from entrostat.types import TokenBatch


def rms(entropies: list[float], target: float) -> float:
    return math.sqrt(sum((e - target) ** 2 for e in entropies) / len(entropies))


@pytest.fixture(scope="module")
def plain() -> list[float]:
    bandit = Bandit(EntropyControl(es.observe()))
    bandit.run(200)
    return bandit.entropies


def test_plain_training_loses_its_entropy(plain: list[float]) -> None:
    assert plain[0] > 1.9 and plain[-1] < 0.5


@pytest.mark.parametrize("target", [1.0, 1.9])
def test_flow_holds_its_target(target: float, plain: list[float]) -> None:
    bandit = Bandit(EntropyControl(es.flow(target), vocabulary=8, on_policy=True))
    metrics = bandit.run(200)
    held = bandit.entropies[100:]
    assert rms(held, target) < 0.03 * target
    assert rms(plain[100:], target) > 5 * rms(held, target)
    # The measurement is of the policy before the step, exact over both micro-batches.
    for row, entropy in zip(metrics[1:], bandit.entropies[:-1], strict=True):
        assert row["entropy_control/measured"] == pytest.approx(entropy, rel=1e-9)
        assert row["entropy_control/error"] == pytest.approx(entropy - target, abs=1e-9)
    assert bandit.control.steps == 200


def test_flow_follows_a_schedule() -> None:
    target = Linear(1.9, 1.2, 100)
    bandit = Bandit(EntropyControl(es.flow(target)))
    metrics = bandit.run(110)
    assert metrics[50]["entropy_control/target"] == pytest.approx(1.55)
    assert rms(bandit.entropies[100:], 1.2) < 0.08


@pytest.mark.parametrize(
    "method",
    [
        es.flow(1.2),
        es.entropic(1.2, kp=2.0, ki=0.1),
        es.chain(es.flow(1.2), es.clip_v(mu=1.0), es.entropy_bonus(Linear(0.1, 0.0, 9))),
    ],
    ids=lambda m: m.name,
)
def test_a_resumed_run_equals_an_unbroken_one(method: Any, tmp_path: Path) -> None:
    unbroken = Bandit(EntropyControl(method))
    unbroken.run(12)
    first = Bandit(EntropyControl(method))
    first.run(5)
    first.control.save(tmp_path)
    saved = copy.deepcopy(first.checkpoint())
    first.run(3)  # steps that the checkpoint must not see
    resumed = Bandit(EntropyControl(method))
    resumed.restore(saved)
    resumed.control.load(tmp_path)
    assert resumed.control.steps == 5
    resumed.run(7)
    assert torch.equal(resumed.table, unbroken.table)
    assert resumed.control.state == unbroken.control.state
    assert resumed.control.steps == unbroken.control.steps


def test_loading_forgets_pending_micro_batches(tmp_path: Path) -> None:
    bandit = Bandit(EntropyControl(es.flow(1.2)))
    bandit.run(2)
    bandit.control.save(tmp_path)
    batch = bandit.batch(*bandit.micro_batches()[0])
    for forget in (lambda: bandit.control.load(tmp_path), bandit.control.discard):
        bandit.control.apply(es.ppo(batch), batch)
        forget()
        assert bandit.control.step() == {"entropy_control/empty_step": 1.0}
    assert bandit.control.steps == 2


def test_steps_without_a_finite_entropy_are_left_out_and_ten_in_a_row_end_the_run() -> None:
    bandit = Bandit(EntropyControl(es.flow(1.2)))
    bandit.run(3)
    control, before = bandit.control, bandit.control.state
    states, actions, advantages = bandit.micro_batches()[0]
    logits = torch.full((*actions.shape, 8), math.nan)
    stats = token_stats(logits, actions, control.method.requires)
    batch = TokenBatch(stats, advantages, torch.ones(actions.shape))
    control.observe(batch)
    with pytest.warns(UserWarning, match="hold NaN or infinity in this step"):
        assert control.step() == {"entropy_control/skipped_steps": 1.0}
    assert control.state is before
    bandit.step()
    assert control.steps == 4 and len(states) == 8
    for count in range(9):
        control.observe(batch)
        assert control.step() == {"entropy_control/skipped_steps": 2.0 + count}
    control.apply(es.ppo(batch), batch)
    with pytest.raises(DataError, match=r"10 steps in a row.*go on from the last checkpoint"):
        control.step()


def test_a_sampler_that_cuts_the_tail_is_told() -> None:
    """top_k=2 sampling is on average less surprising than the entropy of the whole softmax; honest sampling is not."""
    draw = torch.Generator().manual_seed(0)
    for kept, told in ((8, False), (2, True)):
        control = EntropyControl(es.observe(account=False))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(6):
                logits = torch.randn(16, 20, 8, generator=draw)
                cut = logits.masked_fill(logits < logits.topk(kept).values[..., -1:], -math.inf)
                tokens = torch.multinomial(cut.softmax(-1).flatten(0, 1), 1, generator=draw).view(16, 20)
                batch = TokenBatch(token_stats(logits, tokens), torch.ones(16), torch.ones(16, 20))
                control.observe(batch)
                metrics = control.step()
        assert [str(w.message) for w in seen if "drawn from another distribution" in str(w.message)] != [] or not told
        assert len(seen) == told
        assert (metrics["entropy_control/sampling_gap_errors"] < -8) == told


def test_sequences_that_an_update_left_alone_are_no_fair_sample() -> None:
    """Certain tokens move least: of a batch trained on before, those at an unchanged probability are unsurprising."""
    control, draw = EntropyControl(es.observe(account=False)), torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6):
            logits = torch.randn(64, 20, 8, generator=draw)
            tokens = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=draw).view(64, 20)
            stats = token_stats(logits, tokens)
            surprising = (stats.surprisal.mean(1, keepdim=True) > stats.need("entropy").mean()).float()
            batch = TokenBatch(stats, torch.ones(64), torch.ones(64, 20), stats.need("logp") - 0.1 * surprising)
            control.observe(batch)
            assert "entropy_control/sampling_gap" not in control.step()


def test_observing_counts_but_changes_nothing() -> None:
    seen, applied = EntropyControl(es.observe()), EntropyControl(es.observe())
    bandit = Bandit(seen)
    batch = bandit.batch(*bandit.micro_batches()[0])
    surrogate = es.ppo(batch)
    assert applied.apply(surrogate, batch) == surrogate
    seen.observe(batch)
    assert seen.step() == applied.step()


def test_a_missing_statistic_is_named() -> None:
    """Without it the measured entropy would be 0, and a controller would follow that."""
    control = EntropyControl(es.clip_higher(PI(0.4, 1.0, 0.1, (0.0, 0.5), start=0.28)))
    tokens = torch.zeros(2, 3, dtype=torch.long)
    batch = TokenBatch(token_stats(torch.zeros(2, 3, 5), tokens, "logp"), torch.ones(2), torch.ones(2, 3))
    with pytest.raises(MissingStatistic, match="entropy was not computed"):
        control.apply(es.ppo(batch), batch)


def test_what_is_not_a_method_is_refused() -> None:
    for method in ("flow", es.flow, None, PI(0.3)):
        with pytest.raises(ConfigError, match="method must be a preset"):
            EntropyControl(method)  # type: ignore[arg-type]
    assert EntropyControl(Flow(0.5)).method.links == (Flow(0.5),)


def test_a_target_out_of_reach_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"above log V = 2\.0794"):
        EntropyControl(es.flow(2.1), vocabulary=8)
    EntropyControl(es.flow(2.07), vocabulary=8)
    with pytest.raises(ConfigError, match=r"target entropy 2\.1 is above"):  # wherever on the way it lies
        EntropyControl(es.flow(es.Piecewise(((0, 0.3), (50, 2.1), (90, es.Initial(0.5))))), vocabulary=8)
    with pytest.raises(ConfigError, match=r"target entropy 2\.1 is above"):
        EntropyControl(es.flow(es.Band(2.1, 9.0)), vocabulary=8)
    EntropyControl(es.flow(es.Band(0.5, 9.0)), vocabulary=8)  # a floor
    EntropyControl(es.flow(es.Initial(1.5)), vocabulary=8)


def test_clip_ranges_are_warned_of_on_policy() -> None:
    with pytest.warns(UserWarning, match="every ratio is 1 and the method does nothing"):
        EntropyControl(es.clip_higher(), on_policy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EntropyControl(es.clip_higher(), on_policy=False)
        EntropyControl(es.flow(1.0), on_policy=True)
        EntropyControl(es.chain(es.clip_higher(), es.flow(1.0)), on_policy=True)
        EntropyControl(es.observe(), on_policy=True)


def test_clip_ranges_do_nothing_on_policy() -> None:
    runs = []
    for method in (es.observe(), es.clip_higher(eps_high=0.01, eps_low=0.01)):
        bandit = Bandit(EntropyControl(method))
        bandit.run(5)
        runs.append(bandit.table)
    assert torch.equal(*runs)


def test_a_target_out_of_reach_is_said_once_and_early() -> None:
    bandit = Bandit(EntropyControl(es.flow(2.0, limits=(-0.01, 0.01))))
    with pytest.warns(UserWarning, match=r"no output brings the entropy, .* to its target, 2\.0000") as told:
        rows = bandit.run(40)
    assert sum("no output brings the entropy" in str(each.message) for each in told) == 1
    flags = [row["entropy_control/reachable"] for row in rows]
    assert flags.index(0) < 20
    assert rows[19]["entropy_control/reach_high"] < 2.0


def test_a_host_that_acts_at_once_tells_the_controllers_so() -> None:
    method = es.chain(es.flow(0.3), es.clip_higher(eps_high=0.3))
    assert [EntropyControl(method, delay=steps).method.links[0].u.delay for steps in (0, 1)] == [0, 1]
    fixed = es.flow(0.3, kp=10.0)
    assert EntropyControl(fixed, delay=0).method == fixed
