"""The state of self-tuning control."""

from __future__ import annotations

from dataclasses import dataclass

from entrostat.control.estimator import Estimate


@dataclass(frozen=True)
class SelfTuningState(Estimate):
    """The controller after a number of steps: its last measurement, its estimate of the plant (`Estimate`) and its output.

    Attributes:
        effort: u in `self_tuning`, what the output should do.
        unit: the predicted change of entropy that an effort of 1 stands for; 0 while no effect was known, when an effort of 1 is
            a quarter of the range of the output.
        bias: by how much more, on average, an output pushes on the batch that it acts on than it was computed to.
        saturated: -1 or 1 while the output is at its lower or upper limit, else 0.
        identified: 1 while the gain is positive by two standard errors; -1 while it is negative by two, or not positive by one
            after two settling times; else 0.
        neutral: for how many more steps the output stays at its start.
        reachable: 0 while the output is at its limit (or no output pushes toward the target) and the entropy comes no nearer to
            it.
        reach_low, reach_high: where one settling time at the limits would lead [nats].
        at_limit, ...: sums since the output came to its limit: the count (negative at the lowest effort), and sums of y and t y.
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
