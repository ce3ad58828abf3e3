"""A head whose vocabulary is spread over ranks (tensor parallel): each rank holds some rows of the weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.stats.online import combine


@dataclass(frozen=True)
class VocabularyShard:
    """Where this rank's rows of the head lie in the vocabulary, and how the ranks come together.

    Every rank passes the same hidden states, targets (ids in the whole vocabulary), mask and `want`, and gets the same
    statistics, bit for bit: the ranks' sums are gathered (six numbers a token) and combined in rank order.

    Gradients of the weight and the bias stay on the rank that holds the rows. The gradient of the hidden states is a
    sum over ranks. It is added up here, unless the host does it, as Megatron's column-parallel layers do with what
    goes into them: then `sum_hidden_gradient=False`, or it would be added up twice.

    Args:
        start: id of the first row that this rank holds.
        vocabulary: size of the whole vocabulary. Rows that a host adds as padding must be cut off before.
        group: process group of the ranks that share the head; None for the default group.
    """

    start: int
    vocabulary: int
    group: dist.ProcessGroup | None = None
    sum_hidden_gradient: bool = True

    def check(self, rows: int) -> None:
        """Refuse rows that do not lie in the vocabulary."""
        if self.start < 0 or self.start + rows > self.vocabulary:
            raise ConfigError(
                f"a shard of {rows} rows from {self.start} on does not lie in a vocabulary of {self.vocabulary}: "
                "cut padding rows off the weight, and pass the size of the whole vocabulary"
            )

    def combine(self, state_6N: Tensor) -> Tensor:
        """The state over the whole vocabulary from each rank's own: one all-gather."""
        parts = [torch.empty_like(state_6N) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, state_6N.contiguous(), group=self.group)
        return combine(torch.stack(parts))

    def sum_hidden(self, grad_hidden_Nd: Tensor) -> Tensor:
        """The gradient of the hidden states summed over ranks, where that is ours to do: one all-reduce."""
        if self.sum_hidden_gradient:
            dist.all_reduce(grad_hidden_Nd, group=self.group)
        return grad_hidden_Nd
