"""Which rows verl trains on together, for losses that take a mean of each micro-batch and not of the update.

Most of verl's losses divide by numbers of the whole mini-batch, so it does not matter how that is cut. Two do not: `geo_mean`
takes the mean over the rows of each micro-batch, and `seq-mean-token-sum-norm` without a `loss_scale_factor` divides by the
longest response of each. The gradients of the micro-batches add up. So a row counts for more, the fewer rows or the shorter
responses stand beside it. The batch is cut here as the workers will cut it, by verl's own functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.seqlen_balancing import rearrange_micro_batches


def micro_batches(actor: Any, lengths_B: Sequence[int], samples: int, ranks: int) -> list[Tensor]:
    """The row numbers of each micro-batch that verl's workers will make of a batch, of all ranks and updates.

    Args:
        actor: `actor_rollout_ref.actor`.
        lengths_B: tokens of each row, prompt and response, in the order in which the driver hands the rows out.
        samples: completions of a prompt (`rollout.n`), by which verl multiplies the size of a mini-batch.
        ranks: that share the batch.
    """
    lengths = torch.as_tensor(lengths_B)
    shares = torch.arange(len(lengths)).chunk(ranks)
    updates = zip(
        *(_mini_batches(actor, share, samples, rank, ranks) for rank, share in enumerate(shares)), strict=True
    )
    found: list[Tensor] = []
    for minis in updates:
        if actor.use_dynamic_bsz:
            found += _by_tokens(actor, minis, lengths)
        else:
            found += [micro for mini in minis for micro in mini.split(actor.ppo_micro_batch_size_per_gpu)]
    return found


def row_weights(of: Literal["rows", "longest"], micros: Sequence[Tensor], widths_B: Tensor, share: int) -> Tensor:
    """How much more each row counts than under one mean of the batch, (B,).

    Args:
        of: what the mean of a micro-batch divides by: its "rows", or the "longest" of its responses.
        micros: of `micro_batches`.
        widths_B: tokens of each response, also those that are masked.
        share: rows of a mini-batch on one rank, whose micro-batches add up.
    """
    weight = torch.zeros(len(widths_B), dtype=torch.float64)
    longest = float(widths_B.max())
    for micro in micros:
        weight[micro] += share / len(micro) if of == "rows" else longest / max(float(widths_B[micro].max()), 1.0)
    epochs = sum(map(len, micros)) / len(widths_B)
    return (weight / epochs).float()


def _mini_batches(actor: Any, share: Tensor, samples: int, rank: int, ranks: int) -> list[Tensor]:
    """A rank's mini-batches, of every epoch, in its own order."""
    rows = TensorDict({"row": share}, batch_size=len(share))
    minis = tu.make_iterator(
        rows,
        mini_batch_size=actor.ppo_mini_batch_size * samples // ranks,
        epochs=actor.ppo_epochs,
        seed=actor.data_loader_seed + rank,
        dataloader_kwargs={"shuffle": actor.shuffle},
    )
    return [mini["row"] for mini in minis]


def _by_tokens(actor: Any, minis: Sequence[Tensor], lengths: Tensor) -> list[Tensor]:
    """The micro-batches of one update under `use_dynamic_bsz`: every rank has as many."""
    most = actor.ppo_max_token_len_per_gpu * _sequence_parallel(actor)
    number, found = 1, []
    while True:
        found = [rearrange_micro_batches(_rows(lengths[mini]), most, min_num_micro_batch=number)[1] for mini in minis]
        if len({len(each) for each in found}) == 1:
            return [mini[torch.tensor(rows)] for mini, each in zip(minis, found, strict=True) for rows in each]
        number = max(map(len, found))


def _rows(lengths: Tensor) -> TensorDict:
    """Rows of these lengths, as verl's cut reads them."""
    ids = torch.nested.nested_tensor_from_jagged(
        torch.zeros(int(lengths.sum()), dtype=torch.int8), torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    )
    return TensorDict({"input_ids": ids}, batch_size=len(lengths))


def _sequence_parallel(actor: Any) -> int:
    """Ranks that share one sequence, whose tokens a micro-batch may have together."""
    if actor.strategy == "megatron":
        return int(actor.megatron.context_parallel_size)
    name, own = "ulysses_sequence_parallel_size", actor.get("fsdp_config") or {}
    # As verl: the actor's own number counts where it is one.
    size = actor.get(name) or 1
    return int(size if size > 1 else own.get(name) or 1)
