"""EntroPIC: positive and negative samples are weighted by (1 + u) and (1 - u) on selected tokens.

    L = PPO + u * agg(-r |A|)  over the selected tokens

On them a positive sample weighs (1 + u), a negative one (1 - u): entropy above target pushes probable tokens of correct
samples harder and spares those of wrong samples. Source: EntroPIC, 2511.15248, and its released code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from entrostat.control import PI, Initial, Knob, TargetLike
from entrostat.control.targets import as_target
from entrostat.methods.authority import REQUIRES, AuthorityLink
from entrostat.methods.base import MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.holding import GLOBAL_MEASUREMENT
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Summary, Surrogate, Term, TokenBatch

Select = Literal["probability", "discriminator", "all"]


@dataclass(frozen=True)
class Entropic(AuthorityLink):
    """Weight selected tokens by 1 + u * sign(A).

    Args:
        u: output, usually a `PI` with limits within (-1, 1); u > 0 lowers the entropy.
        select: which tokens: "probability" (p > threshold), "discriminator" (D > 0, those that a positive
            advantage makes less random), or "all".
        threshold: for "probability".
        normalizer: "all" weights the clipped loss, whose mean stays over all tokens. "selected" is the released
            form: an unclipped term that is averaged over the selected tokens alone, so that few tokens weigh much.
    """

    u: Knob
    select: Select = "probability"
    threshold: float = 0.95
    normalizer: Literal["all", "selected"] = "all"

    card: ClassVar[Card] = Card(
        "entropic",
        want=REQUIRES,
        knobs={"u": "lower"},
        bounds={"threshold": "[0, 1)"},
    )

    @property
    def record(self) -> Card:
        sums = (*self.authority_sums, "selected")
        if self.normalizer == "all":
            return dataclasses.replace(self.card, writes=("weight_BT",), sums=sums)
        return dataclasses.replace(self.card, writes=("terms/entropic",), terms=("ratio",), sums=sums)

    def selected(self, batch: TokenBatch) -> Tensor:
        """The tokens that are weighted, (B, T) booleans."""
        stats = batch.stats.detach()
        if self.select == "probability":
            return batch.mask & (stats.prob > self.threshold)
        return batch.mask & (stats.centered > 0) if self.select == "discriminator" else batch.mask

    def at(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Callable[[str, float], Surrogate]:
        advantages = surrogate.advantages_BT.detach().masked_fill(~batch.mask, 0)
        selected = self.selected(batch)

        def changed(_: str, u: float) -> Surrogate:
            if self.normalizer == "all":
                weight = (1 + u * advantages.sign().masked_fill(~selected, 0)).clamp_min(0)
                return dataclasses.replace(surrogate, weight_BT=weight.to(advantages.dtype))
            if not u:
                return surrogate
            term = Term("entropic", "ratio", selected, u, -advantages.abs(), over="micro")
            return dataclasses.replace(surrogate, terms=(*surrogate.terms, term))

        return changed

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        changed = self.at(surrogate, batch, state)("u", state.knobs["u"].output)
        count = self.selected(batch).sum().to(sum_dtype(batch.mask.device))
        return dataclasses.replace(changed, sums={**surrogate.sums, "selected": count})

    def report(self, summary: Summary) -> dict[str, float]:
        return {"selected_share": summary.mean("selected")}


@preset(
    Source(
        "2511.15248",
        "EntroPIC, Algorithm 1; released as a verl recipe (yk7333/EntroPIC)",
        "kp 1, ki 0.01, threshold 0.95, output within (-1, 1), no anti-windup, integral read before it is advanced",
        (
            "the release steps a controller per rank and micro-batch; here " + GLOBAL_MEASUREMENT,
            "the integral is saved with the checkpoint; the release loses it",
            "a negative target is an error here; the release says that it turns control off, and crashes",
            "the added term is averaged over the selected tokens of each micro-batch, as released; with "
            "normalizer='all' it is a weight within the clipped loss instead",
        ),
    ),
    effect="holds",
    replaces={"controller": ("target", "kp", "ki", "limits", "anti_windup", "integral_read")},
)
def entropic(
    target: TargetLike = Initial(),  # noqa: B008  # frozen
    kp: float = 1.0,
    ki: float = 0.01,
    threshold: float = 0.95,
    select: Select = "probability",
    normalizer: Literal["all", "selected"] = "selected",
    limits: tuple[float, float] = (-1.0, 1.0),
    anti_windup: bool = False,
    integral_read: Literal["after", "before"] = "before",
    controller: Knob | None = None,
) -> Chain:
    """EntroPIC: weight positive and negative samples by (1 + u) and (1 - u) on high-probability tokens.

    Args:
        target: entropy to hold [nats per token].
        kp, ki: gains; `ki=0` is the paper's P controller.
        threshold, select, normalizer: which tokens, and over what their term is averaged; see `Entropic`.
        limits, anti_windup, integral_read: of the controller, see `PI`.
        controller: takes the place of the PI controller that target, gains, limits and what follows them make; none of them is
            given beside it.
    """
    if controller is None:
        controller = PI(as_target(target), kp, ki, limits, anti_windup=anti_windup, integral_read=integral_read)
    return one("entropic", Entropic(controller, select, threshold, normalizer))
