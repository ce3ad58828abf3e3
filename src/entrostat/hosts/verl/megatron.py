"""Training workers on Megatron. UNTESTED: written to verl's hook, with no Megatron at hand; its arithmetic is tested.

verl's hook is `_lm_head_logits_processor`, which divides the logits by the temperature in place; ours reads them before.
"""

from __future__ import annotations

from typing import Any

from megatron.core import parallel_state
from torch import Tensor
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.megatron.transformer_impl import MegatronEngineWithLMHead

from entrostat.hosts.verl import fields
from entrostat.hosts.verl.engine import DEVICE, VENDOR, wanted
from entrostat.stats import vocab_parallel_stats


@EngineRegistry.register(model_type="language_model", backend="megatron", device=DEVICE, vendor=VENDOR)
class StatisticsMegatronEngine(MegatronEngineWithLMHead):
    """verl's Megatron engine with `entrostat_...` among its outputs, where they are asked for."""

    def _lm_head_logits_processor(
        self, logits: Tensor, label: Tensor, temperature: Tensor, *, batch: Any, **options: Any
    ) -> dict[str, Tensor]:
        extra: dict[str, Tensor] = {}
        if want := wanted(batch):
            group = parallel_state.get_tensor_model_parallel_group()
            stats = vocab_parallel_stats(logits, label, want, temperature.clamp(min=1e-8), group)
            extra = {fields.STATISTIC.format(name): stats.need(name) for name in want}
        return super()._lm_head_logits_processor(logits, label, temperature, batch=batch, **options) | extra
