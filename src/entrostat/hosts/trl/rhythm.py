"""TRL's rhythm: micro-batches, generations and passes over them, of which its optimizer steps are made."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from entrostat.types import Divisors, Term, TokenBatch


def aligned(host: Any) -> bool:
    """Whether every optimizer step ends with a generation: TRL computes old log-probabilities exactly where they can differ."""
    every = getattr(host.args, "steps_per_generation", 1) * getattr(host, "num_iterations", 1)
    whole: bool = host.args.gradient_accumulation_steps % every == 0
    return whole


def fresh(host: Any) -> bool:
    """Whether this optimizer step is the first on its completions: TRL goes over a generation `num_iterations` times."""
    over, passes = getattr(host.args, "steps_per_generation", 1), getattr(host, "num_iterations", 1)
    whole = host.args.gradient_accumulation_steps >= over * passes  # a step is a generation or more
    return whole or (getattr(host, "_step", 0) // over) % passes == 0


def divisors(host: Any, batch: TokenBatch, inputs: dict[str, Any]) -> Divisors:
    """What a micro-batch adds to the numbers by which TRL's means divide.

    TRL's means over sequences count those without a token, and its means over tokens divide by a micro-batch's even share of the
    whole generation's tokens.
    """
    tokens = batch.mask.sum()
    if "num_items_in_batch" in inputs:
        shares = host.accelerator.num_processes * host.args.steps_per_generation
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / shares
    return Divisors(tokens, float(len(batch.mask)))


def spread(host: Any, term: Term, batch: TokenBatch, inputs: dict[str, Any]) -> Tensor:
    """A term's share of the optimizer step's mean in this micro-batch on this process."""
    accumulation = host.current_gradient_accumulation_steps
    if term.over == "step" and "num_items_in_batch" in inputs:
        # As TRL's own token mean: the step's tokens over all processes, whose gradients are averaged.
        return term.sum(batch) / (divisors(host, batch, inputs).tokens * accumulation)
    return term.loss(batch) / (accumulation if _scales_itself(host) else 1)


def _scales_itself(host: Any) -> bool:
    """Whether TRL's loss is divided by the number of micro-batches already; transformers 4 says so in another way."""
    said = getattr(host, "loss_is_scaled_for_ga", None)
    return host.compute_loss_func is not None if said is None else bool(said)
