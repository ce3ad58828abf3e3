"""The token recorder: what it keeps is what the batch held, bounded, whole, and without a hand in the training."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import entrostat as es
from entrostat.attribution import TokenRecorder
from entrostat.attribution.would import would_do
from entrostat.core.control import EntropyControl
from entrostat.errors import ConfigError, DataError, SaveError
from entrostat.methods import names
from entrostat.methods.cards import example
from entrostat.stats import token_stats
from entrostat.types import Old, TokenBatch

B, T, V = 6, 9, 11


def batch(seed: int = 0, rewards: bool = True) -> TokenBatch:
    make = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(B, T, V, generator=make)
    ids = torch.randint(V, (B, T), generator=make)
    lengths = torch.randint(1, T + 1, (B,), generator=make)
    mask = (torch.arange(T) < lengths[:, None]).long()
    stats = token_stats(logits, ids, want={"logp", "entropy", "baseline", "collision"})
    given = torch.randint(2, (B,), generator=make).float() if rewards else None
    prompts = [f"question {row}" for row in range(B)]
    return TokenBatch(stats, torch.randn(B, generator=make), mask, rewards_B=given, ids_BT=ids, prompts_B=prompts)


def steps(control: EntropyControl, count: int) -> list[dict[str, float]]:
    metrics = []
    for step in range(count):
        for part in range(2):
            one = batch(10 * step + part)
            control.apply(es.ppo(one), one)
        metrics.append(control.step())
    return metrics


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_what_is_kept_is_what_the_batch_held(tmp_path: Path) -> None:
    control = EntropyControl(es.flow(target=0.5))
    control.recorder = TokenRecorder(tmp_path, every=3, completions=4, decode=lambda ids: "".join(map(chr, ids)))
    steps(control, 7)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"step-{n:08d}.safetensors" for n in (1, 3, 6)]
    tensors, told = read(tmp_path / "step-00000001.safetensors")
    first = batch(0)
    rows = json.loads(told["rows"])
    assert len(rows) == 4 and json.loads(told["prompts"]) == [f"question {row}" for row in rows]
    kept = first.mask[rows]
    assert tensors["lengths"].tolist() == kept.sum(1).tolist() == tensors["full_lengths"].tolist()
    assert tensors["ids"].tolist() == first.ids_BT[rows][kept].tolist()
    torch.testing.assert_close(tensors["centered"], first.stats.centered[rows][kept].cpu())
    torch.testing.assert_close(tensors["advantages"], first.advantages_BT[rows][kept].cpu())
    assert tensors["rewards"].tolist() == first.rewards_B[rows].tolist()
    assert set(json.loads(told["texts"])) >= {str(token) for token in tensors["ids"].tolist()}


def test_the_vocabulary_is_counted_over_the_whole_step(tmp_path: Path) -> None:
    control = EntropyControl(es.observe())
    control.recorder = TokenRecorder(tmp_path, completions=1)
    steps(control, 1)
    tensors, _ = read(tmp_path / "step-00000001.safetensors")
    flows, counts = dict.fromkeys(range(V), 0.0), dict.fromkeys(range(V), 0)
    for one in (batch(0), batch(1)):
        flow = -one.advantages_BT * one.stats.centered
        for token, value in zip(one.ids_BT[one.mask].tolist(), flow[one.mask].tolist(), strict=True):
            flows[token] += value
            counts[token] += 1
    found = dict(zip(tensors["vocabulary/ids"].tolist(), tensors["vocabulary/flow"].tolist(), strict=True))
    assert found == pytest.approx({token: flows[token] for token in found}, abs=1e-5)
    assert list(found) == sorted(found, key=lambda token: -abs(found[token]))
    assert tensors["vocabulary/count"].tolist() == [counts[token] for token in found]


def test_recording_changes_nothing(tmp_path: Path) -> None:
    plain, recorded = EntropyControl(es.flow(target=0.5)), EntropyControl(es.flow(target=0.5))
    recorded.recorder = TokenRecorder(tmp_path, every=1)
    assert steps(plain, 4) == steps(recorded, 4)
    assert plain.state == recorded.state


def test_a_step_on_a_whole_batch_is_recorded_too(tmp_path: Path) -> None:
    control = EntropyControl(es.flow(target=0.5), delay=0)
    control.recorder = TokenRecorder(tmp_path)
    one = batch()
    changed, _ = control.step_on(es.ppo(one), one)
    tensors, told = read(tmp_path / "step-00000001.safetensors")
    rows = json.loads(told["rows"])
    torch.testing.assert_close(tensors["weight"], changed.weight_BT[rows][one.mask[rows]].cpu())


def test_the_folder_stays_below_its_limit(tmp_path: Path) -> None:
    control = EntropyControl(es.observe())
    control.recorder = recorder = TokenRecorder(tmp_path, every=1, megabytes=0.05)
    steps(control, 40)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) <= 0.05e6 and recorder.every > 1
    assert (tmp_path / "step-00000001.safetensors").exists()


def test_a_long_completion_is_cut_and_said_so(tmp_path: Path) -> None:
    control = EntropyControl(es.observe())
    control.recorder = TokenRecorder(tmp_path, length=2)
    steps(control, 1)
    tensors, _ = read(tmp_path / "step-00000001.safetensors")
    assert tensors["lengths"].max() <= 2 < tensors["full_lengths"].max()


def test_what_each_method_would_do() -> None:
    one = batch()
    found = would_do(one)
    weight, terms = found["flow"]
    flow = (-one.advantages_BT * one.stats.centered)[one.mask]
    # Asked to raise the entropy, flow gives weight to the tokens that raise it and takes it from the others.
    assert bool(((weight[one.mask] - 1) * flow >= 0).all()) and not terms
    assert found["entropy_bonus"][1]
    positive = one.mask & (one.advantages_BT > 0)
    assert bool((found["nsr"][0][positive] == 0).all())
    assert "observe" not in found


@pytest.mark.parametrize("rewards", [[0.03, 0.5, 1.0, 0.0, -2.0, 7.0], [0.0] * 6, [1.0] * 6])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("advantages", [1.0, 0.0])
def test_a_method_that_refuses_the_batch_is_left_out(rewards: list[float], grouped: bool, advantages: float) -> None:
    """Recording never ends a run whose own method takes these rewards."""
    one = batch()
    groups = torch.tensor([0, 0, 0, 1, 1, 1]) if grouped else None
    odd = dataclasses.replace(
        one, advantages_BT=advantages * one.advantages_BT, rewards_B=torch.tensor(rewards), groups_B=groups
    )
    found = would_do(odd)
    assert "entropy_bonus" in found


def test_a_resumed_run_takes_its_later_records_away(tmp_path: Path) -> None:
    control = EntropyControl(es.observe())
    control.recorder = TokenRecorder(tmp_path, every=2)
    steps(control, 6)
    TokenRecorder(tmp_path, every=2, step=4)
    assert [path.stem[-1] for path in sorted(tmp_path.iterdir())] == ["1", "2", "4"]


def test_nothing_to_record_without_ids(tmp_path: Path) -> None:
    control = EntropyControl(es.observe())
    control.recorder = TokenRecorder(tmp_path / "tokens")
    one = batch()
    with pytest.warns(UserWarning, match=r"no tokens are recorded: the batch has no ids_BT"):
        control.apply(es.ppo(one), TokenBatch(one.stats, one.advantages_BT, one.mask_BT))
    control.step()
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize("name", names())
def test_every_method_wants_what_is_recorded(name: str, tmp_path: Path) -> None:
    """Also those that need nothing but the entropy themselves."""
    control = EntropyControl(example(name))
    own = {want.of if isinstance(want, Old) else want for want in control.method.requires}
    assert control.wants == own
    control.recorder = TokenRecorder(tmp_path)
    assert control.recorder.needs <= control.wants >= own


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    for setting in ({"every": 0}, {"completions": -1}, {"megabytes": math.nan}, {"length": True}):
        with pytest.raises(ConfigError, match="above 0"):
            TokenRecorder(tmp_path, **setting)
    with pytest.raises(ConfigError, match="decode must be a function"):
        TokenRecorder(tmp_path, decode=3)  # type: ignore[arg-type]
    one = batch()
    with pytest.raises(DataError, match="prompts_B"):
        TokenBatch(one.stats, one.advantages_BT, one.mask_BT, prompts_B=["one"])


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    control = EntropyControl(es.observe())
    control.recorder = TokenRecorder(tmp_path / "file" / "tokens")
    with pytest.raises(SaveError, match="record no tokens"):
        steps(control, 1)
