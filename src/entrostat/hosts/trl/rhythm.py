"""TRL's rhythm: micro-batches, generations and passes over them, of which its optimizer steps are made."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from entrostat.hosts.trl.loss import Loss
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


def divisors(host: Any, loss: Loss, batch: TokenBatch, inputs: dict[str, Any]) -> Divisors:
    """What a micro-batch adds to the numbers by which TRL's means divide.

    TRL's means over sequences count those without a token, and its means over tokens divide by a micro-batch's even share of the
    whole generation's tokens. `luspo` and RLOO are sums over each sequence's tokens; `dr_grpo` divides them by the longest
    completion that is allowed.
    """
    tokens = batch.mask.sum().clamp(min=1)
    if "num_items_in_batch" in inputs:
        shares = host.accelerator.num_processes * host.args.steps_per_generation
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / shares
    rows = fixed = float(len(batch.mask))
    if loss.name == "dr_grpo":
        fixed *= host.max_completion_length
    return Divisors(tokens, rows, fixed=fixed if loss.name in ("dr_grpo", "luspo", "rloo") else 0.0)


def count_tokens(host: Any, output: dict[str, Any]) -> None:
    """Write down how many tokens a generation has over all processes: GRPO's trainer does it, RLOO's does not."""
    if "num_items_in_batch" not in output:
        output["num_items_in_batch"] = host.accelerator.gather(output["completion_mask"].sum()).sum()


def spread(host: Any, term: Term, batch: TokenBatch) -> Tensor:
    """A term's share of the optimizer step's mean in this micro-batch on this process, of whose batch `divisors` is known."""
    # As TRL's own token mean: the step's tokens over all processes, whose gradients are averaged.
    mean = term.sum(batch) / batch.divisors.tokens if batch.divisors and term.over == "step" else term.loss(batch)
    return mean / (host.current_gradient_accumulation_steps if _scales_itself(host) else 1)


def _scales_itself(host: Any) -> bool:
    """Whether TRL's loss is divided by the number of micro-batches already; transformers 4 says so in another way."""
    said = getattr(host, "loss_is_scaled_for_ga", None)
    return host.compute_loss_func is not None if said is None else bool(said)
