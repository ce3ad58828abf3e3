"""The lens: quadrants, touched tokens and predicted change, worked out again in NumPy; and what probe makes of a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.numpy_batch import Data

import entrostat as es
from entrostat.attribution.lens import _warmed, lens
from entrostat.errors import DataError, MissingStatistic
from entrostat.lab import group_advantages
from entrostat.methods import Chain, grpo, gspo, names, ppo
from entrostat.methods.cards import described, example
from entrostat.run.probe import by_position, load_batch, probe, save_batch, statistics_of
from entrostat.stats import policy_entropy
from entrostat.types import Old, Statistic, Surrogate, TokenBatch

DATA = Data(0)


def batch_for(*methods: str) -> es.TokenBatch:
    """The batch with stand-ins for statistics that have a parameter: what they are is tested elsewhere."""
    chains = [example(name) for name in methods]
    extra: dict[Statistic, np.ndarray] = dict.fromkeys(statistics_of(chains), DATA.logp)
    old = {
        w.of: DATA.logp
        for chain in chains
        for w in chain.requires
        if isinstance(w, Old) and isinstance(w.of, Statistic)
    }
    return DATA.batch(extra, old)


def test_quadrants_add_up_to_the_predicted_change() -> None:
    look = lens(es.make("observe"), DATA.batch())
    p = np.exp(DATA.logp)
    d = p * (DATA.entropy + DATA.logp) - DATA.baseline
    a, r, mask = DATA.advantages, DATA.ratio, DATA.mask
    stopped = np.where(a > 0, r > 1.2, r < 0.8)
    flow = np.where(stopped, 0, -r * a * d) * mask
    n = mask.sum()
    assert look.plain == pytest.approx(flow.sum() / n)
    assert look.quadrants["positive_likely"].before == pytest.approx(flow[(a > 0) & (d > 0)].sum() / n)
    assert look.quadrants["negative_unlikely"].tokens == (mask & (a < 0) & (d <= 0)).sum()
    assert sum(each.tokens for each in look.quadrants.values()) == n
    assert look.touched == 0
    assert (look.low, look.high) == (look.changed, look.changed)


def test_what_a_method_touches_and_commands() -> None:
    only = lens(es.only_tokens("positive", "positive"), DATA.batch())
    kinds = only.quadrants
    assert kinds["positive_likely"].touched == 0
    assert kinds["negative_likely"].after == kinds["positive_unlikely"].after == kinds["negative_unlikely"].after == 0
    assert kinds["negative_unlikely"].touched > 0
    flow = lens(es.flow(target=0.5), DATA.batch())
    assert flow.low < flow.plain < flow.high and flow.reverses
    assert flow.authority == pytest.approx((flow.high - flow.low) / abs(flow.plain))
    released = lens(es.entropic(target=0.5, threshold=0.9999), DATA.batch())
    assert released.authority == 0 and not released.reverses, "no token is as likely as that: no authority"


DROPPING = {
    "psr": {},
    "nsr": {},
    "w_reinforce": {},
    "high_entropy_tokens": {},
    "stapo": {"prob": 0.5, "share": 0.6, "scope": "micro"},
    "rsi_s": {"low": 0.5, "high": 1.5},
    "clip_b": {"mu": 0.3, "scope": "micro"},
    "clip_v": {"mu": 0.3, "scope": "micro", "largest_share": 0.5},
    "aepo_qwenlong": {"low": 0.1, "high": 0.2},  # which drops whole rows
}


def by_brute_force(method: Chain, batch: TokenBatch, objective: Any) -> float:
    """What a step of plain gradient descent on the real loss does to the entropies, per unit of learning rate.

    Every token has logits of its own. Rows that the reward stage drops are not in the batch at all.
    """
    z = torch.from_numpy(DATA.logits).requires_grad_()
    state = _warmed(method, batch, objective(batch))
    rows = torch.arange(len(batch.mask_BT))
    if "reward" in method.stages:
        rows = torch.tensor([row for row in rows if batch.advantages_BT[row, 0] > 0])
    own = es.token_stats(z[rows], torch.from_numpy(DATA.tokens)[rows], want=("logp", "entropy", "baseline"))
    seen = replace(batch.rows(rows), stats=own)
    changed: Surrogate = method.apply(objective(seen), replace(seen, whole_step=True), state)
    (step,) = torch.autograd.grad(es.loss(changed, seen), z)
    (slope,) = torch.autograd.grad((policy_entropy(z) * batch.mask).sum(), z)
    return float(-(slope * step).sum())


@pytest.mark.parametrize("name", DROPPING)
def test_what_is_dropped_leaves_the_mean_of_the_prediction_too(name: str) -> None:
    method, batch = es.make(name, **DROPPING[name]), DATA.batch()
    look = lens(method, batch)
    assert look.changed == pytest.approx(by_brute_force(method, batch, ppo), rel=1e-9)
    assert look.changed != pytest.approx(look.plain, rel=0.01)
    assert sum(each.after for each in look.quadrants.values()) == pytest.approx(look.changed, rel=1e-9)


@pytest.mark.parametrize("objective", [grpo, gspo])
@pytest.mark.parametrize("name", ["observe", "psr", "high_entropy_tokens", "rsi_s"])
def test_a_mean_over_sequences_gives_every_row_one_vote(name: str, objective: Any) -> None:
    method, batch = es.make(name, **DROPPING.get(name, {})), DATA.batch()
    assert len(set(batch.mask.sum(1).tolist())) > 1
    look = lens(method, batch, objective(batch))
    assert look.changed == pytest.approx(by_brute_force(method, batch, objective), rel=1e-9)
    assert sum(each.after for each in look.quadrants.values()) == pytest.approx(look.changed, rel=1e-9)


@pytest.mark.parametrize("name", names())
def test_every_method_can_be_looked_at(name: str) -> None:
    look = lens(example(name), batch_for(name))
    assert 0 <= look.touched <= 1
    assert np.isfinite([look.plain, look.changed, look.low, look.high]).all()
    about = described(name)
    assert about.idea and about.source.defaults
    assert all(each.meaning for each in about.settings), [each.name for each in about.settings if not each.meaning]


def test_a_batch_that_lacks_something_says_what() -> None:
    with pytest.raises(MissingStatistic, match="Nucleus"):
        lens(es.make("siren"), DATA.batch())
    bare = DATA.batch()
    object.__setattr__(bare, "rewards_B", None)
    with pytest.raises(DataError, match="rewards_B and groups_B"):
        lens(es.make("qae"), bare)


def test_probe_keeps_going_and_says_why_not(tmp_path: Path) -> None:
    found = probe(DATA.batch(), ["flow", "siren"])
    assert list(found.methods) == ["observe", "flow"]
    assert "Nucleus" in found.refused["siren"]
    record = found.record
    assert record["tokens"] == DATA.mask.sum()
    assert record["entropy"] == pytest.approx(DATA.mean_entropy)
    assert record["methods"]["flow"]["reverses"]
    assert len(record["by_position"]) == len(by_position(DATA.batch()))


def test_a_saved_batch_is_the_same_batch(tmp_path: Path) -> None:
    path = tmp_path / "batch.safetensors"
    on_policy = Data(1, stale=False)
    batch = on_policy.batch()
    object.__setattr__(batch.stats, "collision", torch.zeros_like(batch.stats.need("entropy")))
    save_batch(batch, path)
    assert lens(es.flow(target=0.5), load_batch(path)) == lens(es.flow(target=0.5), batch)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="holds no saved batch"):
        load_batch(path)


def test_advantages_are_grpo_s() -> None:
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    a = group_advantages(rewards.view(-1, 4)).flatten()
    assert a[0].item() == pytest.approx(0.75 / (0.5 + 1e-4), rel=1e-6)
    assert (a[4:] == 0).all()
