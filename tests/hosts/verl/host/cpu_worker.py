"""What verl's training workers import in the tests (`model.external_lib`), beside Entrostat's own engine."""

from __future__ import annotations

import transformers_rollout  # noqa: F401  (registers the rollout backend)
import verl.workers.engine.fsdp.transformer_impl as fsdp

_offload = fsdp.CPUOffloadPolicy
# Pinning memory needs an accelerator.
fsdp.CPUOffloadPolicy = lambda pin_memory=True: _offload(pin_memory=False)
