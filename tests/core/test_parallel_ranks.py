"""Four ranks, two that share the vocabulary (tensor parallel) by two that share the batch, against one process.

The ranks of a tensor-parallel pair hold the same tokens: summed over all four, each would count twice. The control is given the
data-parallel group and counts them once.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import on_ranks

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.stats import token_stats, vocab_parallel_stats
from entrostat.types import Surrogate, TokenBatch

ROWS, TOKENS, VOCABULARY, STEPS = 4, 7, 22, 3
METHODS = {"hold": lambda: es.hold(0.3), "flow and a top share": lambda: es.chain(es.flow(0.3), es.kl_cov(0.3))}


def micro_batch(step: int, part: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, token ids, advantages and mask of one data-parallel rank's share; its size differs between the two."""
    draw = torch.Generator().manual_seed(10 * step + part)
    rows = ROWS + 2 * part
    logits = 3 * torch.randn(rows, TOKENS, VOCABULARY, generator=draw)
    ids = torch.randint(VOCABULARY, (rows, TOKENS), generator=draw)
    return logits, ids, torch.randn(rows, generator=draw), torch.rand(rows, TOKENS, generator=draw) < 0.8


def counted(control: EntropyControl, step: int, part: int, pair: dist.ProcessGroup | None = None) -> None:
    """Add one micro-batch, measured whole or over the pair of ranks that hold half of the vocabulary each."""
    logits, ids, advantages, mask = micro_batch(step, part)
    if pair is None:
        stats = token_stats(logits, ids, control.wants)
    else:
        half = VOCABULARY // 2
        first = half * dist.get_rank(pair)
        stats = vocab_parallel_stats(logits[..., first : first + half].contiguous(), ids, control.wants, group=pair)
    batch = TokenBatch(stats, advantages, mask, groups_B=torch.arange(len(advantages)) // 2 + 10 * part)
    control.apply(Surrogate("ppo", batch.advantages_BT), batch)


def worker(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    pairs = [dist.new_group(ranks) for ranks in ([0, 1], [2, 3])]
    shares = [dist.new_group(ranks) for ranks in ([0, 2], [1, 3])]
    part, place = divmod(rank, 2)
    found = {}
    for name, method in METHODS.items():
        control, every = EntropyControl(method(), process_group=shares[place]), EntropyControl(method())
        steps = []
        for step in range(STEPS):
            for each in (control, every):
                counted(each, step, part, pairs[part])
            steps.append(control.step())
            assert every.step()["token_entropy/tokens"] == 2 * steps[-1]["token_entropy/tokens"]
        found[name] = steps
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_a_data_parallel_group_counts_each_token_once(tmp_path: Path) -> None:
    on_ranks(4, worker, tmp_path)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(4)]
    assert all(each == ranks[0] for each in ranks)
    for name, method in METHODS.items():
        alone = EntropyControl(method())
        for step in range(STEPS):
            for part in range(2):
                counted(alone, step, part)
            assert ranks[0][name][step] == pytest.approx(alone.step(), rel=1e-4, abs=1e-6), (name, step)
