"""Training workers: exact statistics of every token from the forward pass of the old policy's log-probabilities.

verl imports this module in each worker before it builds the engine (`actor_rollout_ref.model.external_lib`), and prefers
an engine that is registered for the vendor over its own. The engine adds fields; what verl computes stays as it is.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_name, get_vendor
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from entrostat.errors import HostError, MissingStatistic
from entrostat.hosts.verl import fields
from entrostat.hosts.verl.fused_head import Head, our_head
from entrostat.stats import token_stats
from entrostat.types import TokenStats

# As in verl's own look-up of an engine.
DEVICE = os.getenv("VERL_ENGINE_DEVICE") or get_device_name()
VENDOR = os.getenv("VERL_ENGINE_VENDOR") or get_vendor()


def wanted(micro_batch: Any) -> frozenset[str]:
    """The statistics that the driver asks this forward pass for; none in an update."""
    return frozenset(tu.get_non_tensor_data(micro_batch, fields.WANT, None) or ())


def one_temperature(micro_batch: Any) -> float:
    """The sampling temperature of the batch, which is one number in verl's trainers."""
    temperature = torch.as_tensor(micro_batch["temperature"], dtype=torch.float64).unique()
    if temperature.numel() != 1:
        raise HostError(
            f"entropy control needs one sampling temperature for the whole batch, got {temperature.tolist()}"
        )
    return float(temperature)


@EngineRegistry.register(model_type="language_model", backend=["fsdp", "fsdp2"], device=DEVICE, vendor=VENDOR)
class StatisticsEngine(FSDPEngineWithLMHead):
    """verl's FSDP engine with `entrostat_...` among its outputs, where they are asked for."""

    def forward_step(self, micro_batch: Any, loss_function: Any, forward_only: bool) -> Any:
        want = wanted(micro_batch)
        fused = tu.get_non_tensor_data(micro_batch, "use_fused_kernels", False)
        self._head = Head(want) if want and fused else None
        with our_head(self._head) if self._head else nullcontext():
            return super().forward_step(micro_batch, loss_function, forward_only)

    def prepare_model_outputs(self, output: Any, output_args: Any, micro_batch: Any, logits_processor_func: Any) -> Any:
        want = wanted(micro_batch)
        # Before verl's own: it may scale the logits in place.
        extra = self._statistics(output, output_args, micro_batch, want) if want else {}
        return super().prepare_model_outputs(output, output_args, micro_batch, logits_processor_func) | extra

    @torch.no_grad()
    def _statistics(self, output: Any, output_args: Any, micro_batch: Any, want: frozenset[str]) -> dict[str, Tensor]:
        offsets = micro_batch["input_ids"].offsets()
        packed = tu.get_non_tensor_data(micro_batch, "use_remove_padding", True)
        rows = (
            None if packed else torch.arange(int(offsets.diff().max()), device=offsets.device) < offsets.diff()[:, None]
        )
        if self._head is not None:
            stats = self._head.stats()
        else:
            logits = output.logits.full_tensor() if isinstance(output.logits, DTensor) else output.logits
            logits = logits.squeeze(0) if rows is None else logits[rows]
            # Autocast would run parts of it in the half precision that it is there to avoid.
            with torch.autocast(logits.device.type, enabled=False):
                stats = token_stats(logits, output_args["input_ids_rmpad_rolled"], want, one_temperature(micro_batch))
        return {fields.STATISTIC.format(n): self._nested(stats, n, rows, output_args, offsets) for n in want}

    def _nested(self, stats: TokenStats, name: str, rows: Tensor | None, output_args: Any, offsets: Tensor) -> Tensor:
        values = stats.need(name)
        if rows is None:  # packed, and with Ulysses one share of the sequence on each rank
            values = self._gather_and_unpad_packed(values.reshape(-1), output_args["pad_size"])
        elif values.shape == rows.shape:
            values = values[rows]
        if len(values) != int(offsets[-1]):
            raise MissingStatistic(f"the forward pass gave {name} for {len(values)} of {int(offsets[-1])} tokens")
        return torch.nested.nested_tensor_from_jagged(values, offsets)


if importlib.util.find_spec("megatron") is not None:
    import entrostat.hosts.verl.megatron  # noqa: F401  (registers its engine)
