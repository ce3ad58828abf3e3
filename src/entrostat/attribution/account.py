"""The account of the entropy flow: which kinds of token would move the entropy, which way, and by how much.

The flow of a token is F = -r A D, the first-order change of entropy per unit of step at the logits (`first_order`).
Sorted by the signs of A and D it falls into four quadrants, in each of which every token pushes the same way:

    positive_likely    A > 0, D > 0    lowers        positive_unlikely    A > 0, D < 0    raises
    negative_likely    A < 0, D > 0    raises        negative_unlikely    A < 0, D < 0    lowers

so the sizes of the four add up to the sum of |F| exactly, and each has a well-defined share of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from entrostat.errors import DataError, MissingStatistic
from entrostat.stats.summarize import QUADRANTS
from entrostat.types import Summary

# Relative to sum |F|. Sums in fp32 (devices without fp64) of a few million tokens stay well below it.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FlowAccount:
    """Where the predicted change of entropy of one optimizer step comes from. All flows in nats per unit of step.

    Attributes:
        tokens: number of masked tokens.
        total: sum of F over them; negative where the step lowers the entropy.
        quadrants: sum of F of each quadrant, by the names of `stats.summarize.QUADRANTS`.
    """

    tokens: float
    total: float
    quadrants: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Flow per token: times the step at the logits, the predicted change of mean entropy. NaN without tokens."""
        return self.total / self.tokens if self.tokens else math.nan

    @property
    def gross(self) -> float:
        """sum |F|: the movement before tokens cancel each other."""
        return sum(abs(flow) for flow in self.quadrants.values())

    @property
    def raising(self) -> float:
        """Flow of the tokens that raise the entropy, zero or more."""
        return sum(flow for flow in self.quadrants.values() if flow > 0)

    @property
    def lowering(self) -> float:
        """Flow of the tokens that lower the entropy, zero or less."""
        return sum(flow for flow in self.quadrants.values() if flow < 0)

    @property
    def positive(self) -> float:
        """Flow of the samples with positive advantage."""
        return sum(self.quadrants[name] for name, (advantage_up, _) in QUADRANTS.items() if advantage_up)

    @property
    def negative(self) -> float:
        """Flow of the samples with negative advantage."""
        return sum(self.quadrants[name] for name, (advantage_up, _) in QUADRANTS.items() if not advantage_up)

    def share(self, quadrant: str) -> float:
        """A quadrant's part of the gross flow, 0 to 1; 0 where nothing flows."""
        return abs(self.quadrants[quadrant]) / self.gross if self.gross else 0.0


def flow_account(summary: Summary) -> FlowAccount:
    """The account of one optimizer step, from the sums of `stats.summarize` after `Summary.reduced`.

    Raises:
        MissingStatistic: the summary holds no flow; it needs logp, entropy and baseline.
        DataError: a flow that is not finite or has the wrong sign for its quadrant, or quadrants that do not add up to
            the total: the sums were damaged on the way, for instance averaged over ranks where others were added.
    """
    names = {name: f"flow/{name}" for name in QUADRANTS}
    if missing := [key for key in ("flow", *names.values()) if key not in summary.values]:
        raise MissingStatistic(f"the summary has no {missing}: summarize a batch with logp, entropy and baseline")
    account = FlowAccount(
        tokens=summary.tokens,
        total=summary.get("flow"),
        quadrants={name: summary.get(key) for name, key in names.items()},
    )
    _check(account)
    return account


def _check(account: FlowAccount) -> None:
    flows = dict(account.quadrants)
    if not all(math.isfinite(flow) for flow in (account.total, *flows.values())):
        raise DataError(f"the flow is not finite: total {account.total}, quadrants {flows}")
    for name, (advantage_up, likely) in QUADRANTS.items():
        if flows[name] * (-1 if advantage_up == likely else 1) < 0:
            raise DataError(f"the flow of {name} is {flows[name]}, the wrong sign: these are not the sums of a batch")
    if abs(sum(flows.values()) - account.total) > _TOLERANCE * account.gross:
        raise DataError(f"the quadrants add up to {sum(flows.values())}, the total is {account.total}: {flows}")
