"""A vocabulary spread over two processes against the whole: the arithmetic behind the Megatron engine, itself untested."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from error_budget import assert_within, moved
from ranks import on_ranks

from entrostat.errors import ConfigError, DataError
from entrostat.stats import reference_stats, vocab_parallel_stats
from entrostat.types import STATISTICS

TOKENS, HALF = 37, 11


def whole_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(1, TOKENS, 2 * HALF, generator=generator)
    logits[0, 3, 5:] = -torch.inf  # the whole share of the second rank
    logits[0, 4] = 100 * logits[0, 4]
    targets = torch.randint(0, 2 * HALF, (1, TOKENS), generator=generator)
    targets[0, 3] = 2
    return logits, targets, torch.linspace(0.5, 1.5, TOKENS)[None]


def worker(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=180))
    logits, targets, temperature = whole_case()
    share = logits[..., HALF * rank : HALF * (rank + 1)].clone()
    before = share.clone()
    stats = vocab_parallel_stats(share, targets.int(), STATISTICS, temperature, chunk_tokens=8)
    assert torch.equal(share, before)
    with pytest.raises(DataError, match=r"\[0, 22\).*22"):
        vocab_parallel_stats(share, torch.full_like(targets, 22))
    with pytest.raises(DataError, match=r"\(1, 37\).*\(37,\)"):
        vocab_parallel_stats(share, targets, temperature_BT=temperature[0])
    with pytest.raises(ConfigError, match="other"):
        vocab_parallel_stats(share, targets, {"other"})
    torch.save({name: stats.need(name) for name in STATISTICS}, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_equal_the_whole(tmp_path: Path) -> None:
    on_ranks(2, worker, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    logits, targets, temperature = whole_case()
    scaled = logits.double() / temperature.double()[..., None]
    whole, allowed = reference_stats(scaled, targets), moved(scaled[0], 0.0)
    for name in STATISTICS:
        assert torch.equal(first[name], second[name]), name
        assert_within(first[name][0], whole.need(name)[0], allowed[name])
