"""What an optimizer step adds up to: the same places on every rank, and thresholds that are exact over all of them."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import pytest
import torch
from methods.cases import apply, data, in_threads, together
from ranks import on_ranks

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.core.totals import Pending
from entrostat.errors import ConfigError
from entrostat.methods.base import Link
from entrostat.methods.record import Card
from entrostat.methods.scopes import Top, in_top, threshold, thresholds
from entrostat.types import TokenBatch, TokenStats


def ranks(values: list[torch.Tensor], top: Top) -> list[dict[str, float]]:
    """`thresholds` on several ranks at once."""
    return in_threads(lambda rank, all_reduce: thresholds({"x": values[rank]}, {"x": top}, all_reduce), len(values))


@pytest.mark.parametrize("share", [1e-4, 0.02, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("rounding", ["up", "down"])
def test_a_threshold_is_exact_over_ranks(share: float, rounding: str) -> None:
    draw = torch.Generator().manual_seed(0)
    top = Top(share, rounding)  # type: ignore[arg-type]
    for scale in (1e-30, 1.0, 1e30):
        values = scale * torch.randn(997, generator=draw)
        values[:40] = values[40]  # ties
        values[41:45] = torch.tensor([0.0, -0.0, 1e-40, -1e-40])
        expected = threshold(values, top)
        assert expected == values.sort(descending=True).values[top.count(997) - 1]
        for found in ranks([values[:100], values[:0], values[100:]], top):
            assert found == {"x": expected}
    assert ranks([values[:0], values[:0]], top) == [{}, {}]
    assert thresholds({"x": values[:0]}, {"x": top}) == {}


def test_counts_of_a_share() -> None:
    assert [Top(0.2).count(n) for n in (10, 11, 1)] == [2, 3, 1]
    assert [Top(0.2, "down").count(n) for n in (10, 14, 1)] == [2, 2, 1]
    for share in (0.0, 20.0, -1.0):
        with pytest.raises(ConfigError, match="a percentage is divided by 100"):
            Top(share)


def test_scopes_of_a_top_fraction() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0, 9.0], [4.0, 5.0, 6.0, 7.0], [8.0, 0.0, 0.5, 0.25]])
    mask = torch.ones(3, 4).bool()
    mask[0, 3] = False
    batch = TokenBatch(TokenStats(logp=values), torch.ones(3), mask, groups_B=torch.tensor([0, 1, 1]))
    whole = TokenBatch(TokenStats(logp=values), torch.ones(3), mask, whole_step=True)

    def inside(scope: str, of: TokenBatch = batch, remembered: float | None = None) -> list[float]:
        return values[in_top(values, mask, Top(0.25), scope, of, remembered)].tolist()  # type: ignore[arg-type]

    assert inside("micro") == [6.0, 7.0, 8.0]
    assert (
        inside("step") == []
        and inside("step", remembered=5.5) == [6.0, 7.0, 8.0]
        and inside("step", whole) == [6.0, 7.0, 8.0]
    )
    assert inside("sequence") == [3.0, 7.0, 8.0]
    assert inside("group") == [3.0, 7.0, 8.0]


def test_a_rank_without_a_micro_batch_takes_part() -> None:
    for method in (es.observe(), es.kl_cov(share=0.2), es.flow(0.3, kp=1.0), es.clip_b(0.5)):
        both = EntropyControl(method), EntropyControl(method)
        alone = EntropyControl(method)
        for step in range(3):
            apply(both[0], data(step))
            apply(alone, data(step))
            first, second = together(both)
            assert first == second == alone.step()
        assert both[0].state == both[1].state == alone.state


def test_an_undeclared_sum_is_refused() -> None:
    class Stray(Link):
        card = Card("stray")

        def measure(self, surrogate, batch, state):  # type: ignore[no-untyped-def]
            return {"stray": batch.mask.sum()}

    with pytest.raises(ConfigError, match="'stray' adds up 'stray', which its card does not declare"):
        apply(EntropyControl(Stray()), data(0))


def test_two_controllers_on_one_signal_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"entropy_bonus\.coef and flow\.u are both moved"):
        es.chain(es.hold(0.3), es.flow(0.3))
    with pytest.raises(ConfigError, match="needs at least one method"):
        es.chain()
    with pytest.raises(ConfigError, match="twice"):
        es.chain(es.observe(), es.observe())
    for mu in (-1, es.Linear(-1.0, 2.0, 3), es.PI(0.3, limits=(-1.0, 1.0))):
        with pytest.raises(ConfigError, match=r"mu must be a number in \[0, inf\]"):
            es.clip_v(mu=mu)


def _rank(folder: Path) -> None:
    """What each step measures, on one rank of two; the second has no micro-batch in its second step."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=40))
    group = torch.distributed.new_group([0, 1])
    control = EntropyControl(es.chain(es.hold(0.3, kp=1.0), es.kl_cov(0.3)), process_group=group)
    steps = []
    for step in range(4):
        if not (rank == 1 and step == 1):
            apply(control, data(10 * step + rank))
        steps.append(control.step())
    (folder / f"{rank}.json").write_text(json.dumps(steps))
    torch.distributed.destroy_process_group()


def test_a_processes_idle_step_hangs_nobody(tmp_path: Path) -> None:
    """Two gloo processes; one has no micro-batch in its second step, and no step ends by a timeout."""
    on_ranks(2, _rank, tmp_path)
    first, second = ((tmp_path / f"{rank}.json").read_text() for rank in (0, 1))
    assert first == second and len(json.loads(first)) == 4


def test_a_prompt_cut_between_micro_batches_is_one_cluster() -> None:
    """The noise of a measurement is that between prompts, however a step comes in parts."""
    whole = data(0).batch()
    together, parts = Pending(es.observe()), Pending(es.observe())
    together.add(es.summarize(whole), (), whole)
    for rows in (torch.tensor([0, 2, 4, 6]), torch.tensor([1, 3, 5, 7])):  # a row of every pair in each
        part = whole.rows(rows)
        parts.add(es.summarize(part), (), part)
    one, two = (each.totals(None).standard for each in (together, parts))
    assert two.values == pytest.approx({**one.values, "batches": 2.0})


def test_clusters_count_every_micro_batch_where_some_do_not_name_their_groups() -> None:
    pending = Pending(es.observe())
    for groups in (torch.tensor([0, 0]), None, torch.tensor([1, 1])):
        stats = TokenStats(logp=torch.zeros(2, 3), entropy=torch.rand(2, 3))
        batch = TokenBatch(stats, torch.ones(2), torch.ones(2, 3), groups_B=groups)
        pending.add(es.stats.summarize(batch), (), batch)
    assert pending.totals().standard.get("clusters") == 1 + 2 + 1
