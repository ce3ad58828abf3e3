"""Groups of one batch sampled at different temperatures: TRL has one temperature for a call of `generate`.

While it generates, the model's logits are divided row by row before generation reads them. TRL's log-probabilities are taken in
other forward passes and stay at the temperature of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.errors import HostError


def one_temperature(host: Any) -> str | None:
    """Why this trainer samples all groups alike; None where all rows come from one call of transformers' `generate`."""
    for setting, what in {
        "use_vllm": "TRL gives vLLM one temperature",
        "use_transformers_continuous_batching": "continuous batching takes one temperature for all rows",
        "rollout_func": "your own rollout function samples by itself",
        "tools": "completions with tools are sampled in turns, of fewer rows each",
    }.items():
        if getattr(host, setting, None):
            return f"{what}. Leave {setting} out, or choose another method"
    return None


def tempered_rows(host: Any, control: EntropyControl, rows: int) -> Tensor | None:
    """The factors on the temperature of this process's rows of a generation batch, (B,); None where there are none."""
    if not control.method.tempers_groups:
        return None
    every = torch.tensor(control.group_temperatures(rows * host.accelerator.num_processes // host.num_generations))
    first = host.accelerator.process_index * rows
    return every.repeat_interleave(host.num_generations)[first : first + rows].to(host.accelerator.device)


@contextmanager
def rows_at(model: Any, factors: Tensor | None) -> Iterator[None]:
    """While inside, `model` shows logits (B, T, V) divided by each row's factor, in fp32.

    Raises:
        HostError: the model was not called, or showed no logits of these rows, so that they were not sampled so.
    """
    if factors is None:
        yield
        return
    called = False

    def divide(module: Any, args: Any, output: Any) -> Any:
        nonlocal called
        if len(output.logits) != len(factors):
            raise HostError(
                f"generation calls the model with {len(output.logits)} rows, expected {len(factors)}: which row has which "
                "temperature is not known"
            )
        called = True
        output.logits = output.logits.float() / factors[:, None, None]
        return output

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    hook = inner.register_forward_hook(divide)
    try:
        yield
    finally:
        hook.remove()
    if not called:
        raise HostError(
            "completions were generated without the trainer's model, so no group could be sampled at a temperature of its own: "
            "leave _generate_single_turn as TRL makes it, or choose another method"
        )
