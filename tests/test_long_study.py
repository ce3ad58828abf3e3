"""The long study's scripts, shortened: its queue, a length's drift, starts of a seed's own, rewards that are shared."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from types import ModuleType

import pytest
import torch

from entrostat.run.config import load_config
from entrostat.tasks.countdown import Countdown

LONG = Path(__file__).parents[1] / "benchmarks" / "quality" / "long"
MODULES = (
    "run",
    "results",
    "studies",
    "wide",
    "judge",
    "players",
    "player",
    "training",
    "game",
    "authority_smollm2",
    "common",
    "gain_likelihood",
)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """Modules of the study by name, as its scripts import each other; other folders have modules of the same names."""
    monkeypatch.syspath_prepend(str(LONG))
    monkeypatch.syspath_prepend(str(LONG.parents[1]))

    def module(name: str) -> ModuleType:
        return __import__(name)

    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in MODULES}
    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_a_queue_names_arms_seeds_steps_and_policies(study, tmp_path):
    queue = tmp_path / "queue.txt"
    queue.write_text("plain 11 600\n\nhold-75% 12 300 smollm2  # slow\n")
    first, second = study("run").read_queue(queue)
    assert [(case.name, steps) for case, steps in (first, second)] == [
        ("plain-seed11", 600),
        ("smollm2-hold-75-seed12", 300),
    ]
    assert first[0].arguments(5)[0] == "model=tiny" and second[0].arguments(5)[0] == "model=smollm2"
    queue.write_text("plain 11 600 tine\n")
    with pytest.raises(SystemExit, match=r"'tine'; choose of tiny, tiny-4, wide, smollm2"):
        study("run").read_queue(queue)


def test_a_kept_policy_is_judged_on_every_held_out_problem_once(study):
    judge, task = study("judge"), Countdown(high=4)
    problems = {problem.prompt for problem in judge.held_out(task)}
    assert len(problems) == len(judge.held_out(task)) and problems >= {
        problem.prompt for seed in range(5) for problem in task.problems("eval", 20, seed)
    }
    assert not problems & {problem.prompt for problem in task.problems("train", 500, 0)}


def test_two_policies_are_compared_problem_by_problem(study):
    judge = study("judge")
    plain = {"greedy": [1, 0, 1, 0], "sampled": [16, 0, 8, 0]}
    own = {"greedy": [1, 1, 1, 0], "sampled": [12, 4, 8, 0]}
    found = judge.above(own, plain)
    assert found["greedy"]["mean"] == found["pass@16"]["mean"] == 0.25 and found["avg@16"]["mean"] == 0
    assert found["greedy"]["half_width"] == pytest.approx(3.1824 * 0.5 / 2, abs=1e-4)  # Student's t with three degrees
    assert judge.above(plain, plain)["greedy"] == {"mean": 0, "half_width": 0}


def test_a_moving_target_ends_with_the_steps_asked_of_the_run(study, tmp_path):
    run, case = study("run"), study("studies").Case("anneal-linear", 11)
    began = load_config(None, case.arguments(600))
    assert began.method.options["target"]["linear"]["steps"] == began.steps == 600
    folder = tmp_path / case.name
    assert run.begun_otherwise(folder, case, 600) is None  # a new run
    folder.mkdir()
    (folder / "config.yaml").write_text(began.to_yaml())
    assert run.begun_otherwise(folder, case, 600) is None
    said = run.train(case, 1000, tmp_path, "")
    assert "FAILED" in said and "'steps': 600" in said and "a run of 1000 steps has" in said
    (folder / "config.yaml").write_text(
        load_config(None, study("studies").Case("hold-75%", 11).arguments(600)).to_yaml()
    )
    assert run.begun_otherwise(folder, study("studies").Case("hold-75%", 11), 1000) is None


def test_drift_at_a_length_is_per_token_with_its_error_over_problems(study):
    drifts = [0.5, -1.0, 2.0, 0.25]
    groups = [
        {"32": {"reward": 0.5, "tokens": 80.0, "drift": 80 * each, "certain": 8.0, "authority": 8 * 0.125}}
        for each in drifts
    ]
    row = study("authority_smollm2").at("32", groups)
    assert row["drift"] == pytest.approx(fmean(drifts)) and row["tokens"] == 10
    assert row["drift_error"] == pytest.approx(
        stdev(drifts) / 2
    )  # answers of one length: the mean's own standard error
    assert row["authority"] == 0.125 and row["ratio"] == pytest.approx(0.125 / fmean(drifts))


def test_each_seed_has_a_start_and_problems_of_its_own(study, tmp_path, monkeypatch):
    players, name = study("players"), "three numbers"
    monkeypatch.setitem(players.SETTINGS, name, replace(players.SETTINGS[name], warm=1, train=40, held_out=20))
    (game, _, start), (other, _, another) = (players.prepared(name, seed, str(tmp_path)) for seed in (1, 2))
    assert not all(torch.equal(*each) for each in zip(start.parameters(), another.parameters(), strict=True))
    assert not torch.equal(game.start_P, other.start_P)
    players._prepared.cache_clear()
    again = players.prepared(name, 1, str(tmp_path))[2]
    assert all(torch.equal(*each) for each in zip(start.parameters(), again.parameters(), strict=True))


def test_settings_that_differ_later_share_problems_start_and_its_scores(study, tmp_path, monkeypatch):
    players, names = study("players"), ("three numbers", "three numbers, four updates a batch")
    drawn, judged = [], []
    games, judge = players.games, players.judge
    monkeypatch.setattr(players, "games", lambda *args: drawn.append(args) or games(*args))
    monkeypatch.setattr(players, "judge", lambda *args: judged.append(args) or judge(*args))
    for name in names:
        monkeypatch.setitem(players.SETTINGS, name, replace(players.SETTINGS[name], warm=1, train=400, held_out=20))
    one, other = (players.start_scores(name, 1, str(tmp_path)) for name in names)
    assert one == other and len(drawn) == 1 and len(judged) == 2


def test_problems_that_share_a_reward_share_its_advantage(study):
    training, player = study("training"), study("player")
    rewards = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])  # two problems, three samples: shares 1, 1/2, 0
    played = player.Played(*(torch.zeros(6, dtype=torch.long),) * 3, rewards.flatten())
    setting = replace(training.SETTINGS["three numbers"], per_reward=2, group=3)
    advantage_B, without = training.advantages_of(played, setting)
    torch.testing.assert_close(advantage_B.view(2, 3)[0], torch.tensor([1.0, 0.0, -1.0]), atol=1e-3, rtol=0)
    assert torch.equal(*advantage_B.view(2, 3))
    assert without == 0


def test_the_gain_of_a_run_is_found_by_its_likelihood(study, monkeypatch):
    fits = study("gain_likelihood")
    monkeypatch.setattr(fits, "GAINS", [0.002, 0.01, 0.05])
    draw, level, lagged, measured, acted = random.Random(0).gauss, 1.0, 0.0, [], []
    for _ in range(300):
        measured.append(level + draw(0.0, 0.02))
        acted.append(lagged)
        lagged = 0.86 * lagged + 0.14 * (2.0 if measured[-1] > 1 else -2.0)
        level += draw(0.0, 0.003) - 0.01 * lagged
    found = fits.fitted(measured, acted)
    assert found["gain"] == found["low"] == found["high"] == 0.01


def test_players_of_two_starts_are_not_mixed(study):
    """A start that was warmed up on another CPU is another policy: 0.579 solved greedily there, 0.621 here."""
    players = study("players")
    there, here = ({"held_out": {"greedy": 0.5, "pass": {"1": share, "16": 0.9}}} for share in (0.205, 0.213))
    name = "three numbers"
    rows = [
        {"setting": name, "arm": "plain", "seed": seed, "judged": {"0": there if seed == 1 else here}}
        for seed in (1, 2)
    ]
    now = {(name, seed): {"pass": {1: 0.213, 16: 0.9}} for seed in (1, 2)}
    wanted = [(name, "hold-75%", seed) for seed in (1, 2)]
    assert players.of_another_start(rows, wanted, now) == ["three numbers, plain, seed 1"]
    assert players.of_another_start(rows, wanted[1:], {(name, 2): now[name, 2]}) == []
    assert players.of_another_start(rows, [*wanted, (name, "plain", 1)], now) == []


def test_the_players_that_are_compared_began_at_one_start(study):
    """In results.json: the table's differences are between arms, not between starts."""
    rows = json.loads((LONG / "results.json").read_text())["runs"]
    players = study("players")
    scores = {}
    for row in rows:
        scores.setdefault((row["setting"], row["seed"]), row["judged"]["0"]["held_out"])
    assert players.of_another_start(rows, [], scores) == []
