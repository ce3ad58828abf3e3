"""verl's fused language-model head, swapped for ours while a forward pass runs that is asked for statistics.

The fused head never builds the logits, and neither does ours: both go from hidden states to numbers per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from verl.utils.experimental import torch_functional as fused

from entrostat.errors import HostError, MissingStatistic
from entrostat.stats import token_stats_from_hidden
from entrostat.types import TokenStats

_NAME = "FusedLinearForPPO"


class Head:
    """Keeps the statistics of the projection that it stands in for."""

    def __init__(self, want: frozenset[str]) -> None:
        self.want = want | {"logp", "entropy"}
        self._kept: list[TokenStats] = []

    def forward(self, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: Any) -> tuple[Tensor, Tensor]:
        """In place of `FusedLinearForPPO.forward`: log-probabilities and entropies."""
        # FSDP2 shards an untied head by itself, and nothing calls the head's own forward, which would gather it.
        weight = weight.full_tensor() if isinstance(weight, DTensor) else weight
        with torch.autocast(hidden.device.type, enabled=False):
            stats = token_stats_from_hidden(hidden, weight, targets.to(torch.int64), self.want, float(temperature))
        self._kept.append(stats)
        return stats.need("logp"), stats.need("entropy")

    def stats(self) -> TokenStats:
        """What the forward pass gave, in its own shape."""
        if len(self._kept) != 1:
            raise MissingStatistic(
                f"the model's forward called verl's fused head {len(self._kept)} times, expected once: set "
                "actor_rollout_ref.model.use_fused_kernels=False"
            )
        return self._kept[0].detach()


@contextmanager
def our_head(head: Head) -> Iterator[None]:
    """While inside, models that verl patched for fused kernels project through `head`."""
    original = getattr(fused, _NAME, None)
    if original is None:
        raise HostError(
            f"this verl has moved its fused head ({_NAME}): set actor_rollout_ref.model.use_fused_kernels=False"
        )

    class Stand:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def forward(
            self, hidden_states: Tensor, vocab_weights: Tensor, input_ids: Tensor, temperature: Any = 1.0
        ) -> Any:
            return head.forward(hidden_states, vocab_weights, input_ids, temperature)

    setattr(fused, _NAME, Stand)
    try:
        yield
    finally:
        setattr(fused, _NAME, original)
