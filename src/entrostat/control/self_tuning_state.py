"""What self-tuning control carries from step to step."""

from __future__ import annotations

from dataclasses import dataclass

from entrostat.control.estimator import Estimate


@dataclass(frozen=True)
class SelfTuningState(Estimate):
    """The controller after a number of steps: what it measured, what it believes (see `Estimate`), what it commands.

    `effort` is what the output is to do: u in `self_tuning`. `unit` is the predicted change that an effort of 1 stands
    for; 0 while no effect was known, when an effort is a quarter of the range of the output. `bias` is by how much more the
    outputs push on the batches that they act on than they were meant to, on average. `saturated` is -1 or 1 where the output
    sits at its lower or upper limit. `identified` is 1 while the gain stands two standard errors out of the noise with
    the right sign, -1 where it does with the wrong one, or after two settling times does not by one, else 0. `neutral` counts
    the steps for which the output is yet back at its start: because its effect has the wrong sign, or to find out what it does.
    `reachable` is 0 while the output is at its limit, or by the theory no output pushes toward the target, and the entropy does
    not come nearer to it; `reach_low` and `reach_high` [nats] are where one settling time at the limits
    would lead. The `at_limit` fields add up the measurements since then: count, negative at the lowest effort, and sums of y
    and t y.
    """

    steps: int = 0
    measured: float = 0.0
    initial: float = 0.0
    target: float = 0.0
    error: float = 0.0
    output: float = 0.0
    effort: float = 0.0
    unit: float = 0.0
    bias: float = 0.0
    saturated: int = 0
    identified: int = 0
    reachable: int = 1
    reach_low: float = 0.0
    reach_high: float = 0.0
    at_limit: int = 0
    limit_y: float = 0.0
    limit_ty: float = 0.0
    neutral: int = 0
