"""A vocabulary spread over two processes against the whole: values and gradients."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from entrostat.stats import VocabularyShard, token_stats_from_hidden
from entrostat.types import STATISTICS

CUT, VOCABULARY, TOKENS = 5, 23, 7  # the ranks hold different numbers of rows


def whole_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, 6, generator=generator)
    weight, bias = torch.randn(VOCABULARY, 6, generator=generator), torch.randn(VOCABULARY, generator=generator)
    bias[:3] = -torch.inf
    targets, mask = torch.tensor([3, 4, 5, 6, 22, 10, 4]), torch.tensor([1, 1, 1, 1, 1, 0, 1])
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), targets, mask


def statistics(rank: int | None, add: bool = True) -> dict[str, torch.Tensor]:
    """All statistics and gradients; of the whole vocabulary, or of a rank's part."""
    hidden, weight, bias, targets, mask = whole_case()
    rows = slice(None) if rank is None else (slice(0, CUT), slice(CUT, None))[rank]
    shard = None if rank is None else VocabularyShard(rows.start, VOCABULARY, sum_hidden_gradient=add)
    stats = token_stats_from_hidden(
        hidden,
        weight[rows],
        targets,
        STATISTICS,
        0.8,
        bias[rows],
        softcap=None,
        mask_BT=mask,
        tile_vocabulary=4,
        shard=shard,
    )
    weights = torch.linspace(-1, 1, TOKENS)
    loss = (weights * stats.need("logp")).sum() + stats.need("entropy").square().sum()
    grads = dict(zip(("hidden", "weight", "bias"), torch.autograd.grad(loss, (hidden, weight, bias)), strict=True))
    return {name: stats.need(name).detach() for name in STATISTICS} | grads


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", timedelta(seconds=60), 2, rank)
    torch.save([statistics(rank), statistics(rank, add=False)], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_equal_the_whole(tmp_path: Path) -> None:
    context = mp.get_context("spawn")
    ranks = [context.Process(target=worker, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(90)
    assert [process.exitcode for process in ranks] == [0, 0]
    whole = statistics(None)
    (first, first_part), (second, second_part) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in (*STATISTICS, "hidden"):
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], whole[name], rtol=1e-5, atol=1e-6)
    # Left to the host, each rank returns its own part of the hidden states' gradient.
    torch.testing.assert_close(first_part["hidden"] + second_part["hidden"], whole["hidden"], rtol=1e-5, atol=1e-6)
    # Each rank has the gradients of its own rows, and no others.
    for name in ("weight", "bias"):
        torch.testing.assert_close(first[name][:CUT], whole[name][:CUT], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(second[name][CUT:], whole[name][CUT:], rtol=1e-5, atol=1e-6)
        assert (first[name][CUT:] == 0).all() and (second[name][:CUT] == 0).all()
