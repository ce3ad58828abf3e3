"""EntroPIC: positive and negative samples are weighted by (1 + u) and (1 - u) on selected tokens.

    L = PPO + u * agg(-r |A|)  over the selected tokens

On them a positive sample weighs (1 + u), a negative one (1 - u): entropy above target pushes probable tokens of correct
samples harder and spares those of wrong samples. Source: EntroPIC, 2511.15248, and its released code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from entrostat.control.base import Action
from entrostat.control.knob import Knob
from entrostat.errors import ConfigError
from entrostat.methods.authority import AuthorityLink, authority_sums
from entrostat.methods.base import MethodState, log_ratio
from entrostat.stats.summarise import sum_dtype
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
        normaliser: "all" weights the clipped loss, whose mean stays over all tokens. "selected" is the released
            form: an unclipped term that is averaged over the selected tokens alone, so that few tokens weigh much.
    """

    u: Knob
    select: Select = "probability"
    threshold: float = 0.95
    normaliser: Literal["all", "selected"] = "all"

    name: ClassVar[str] = "entropic"
    actions: ClassVar[Mapping[str, Action]] = {"u": "lower"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select not in ("probability", "discriminator", "all"):
            raise ConfigError(f"select must be 'probability', 'discriminator' or 'all', got {self.select!r}")
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold must be a probability in [0, 1), got {self.threshold!r}")
        if self.normaliser not in ("all", "selected"):
            raise ConfigError(f"normaliser must be 'all' or 'selected', got {self.normaliser!r}")

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"weight_BT"} if self.normaliser == "all" else {"terms/entropic"})

    def selected(self, batch: TokenBatch) -> Tensor:
        """The tokens that are weighted, (B, T) booleans."""
        stats = batch.stats.detach()
        if self.select == "probability":
            return batch.mask & (stats.prob > self.threshold)
        return batch.mask & (stats.centred > 0) if self.select == "discriminator" else batch.mask

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        output = state.knobs["u"].output
        advantages = surrogate.advantages_BT.detach()
        selected = self.selected(batch)
        side = advantages.sign().masked_fill(~selected, 0)
        count = selected.sum()
        tokens = batch.mask.sum().to(sum_dtype(advantages.device))
        spread = 1.0 if self.normaliser == "all" else tokens / count.clamp_min(1)

        def weight(u: float) -> Tensor:
            changed = 1 + u * spread * side
            return changed.clamp_min(0) if self.normaliser == "all" else changed

        sums = authority_sums(surrogate, batch, weight, self.u, output)
        surrogate = dataclasses.replace(
            surrogate, sums={**surrogate.sums, **sums, "selected": count.to(sums["predicted"].dtype)}
        )
        if self.normaliser == "all":
            return dataclasses.replace(surrogate, weight_BT=weight(output).to(advantages.dtype))
        size = advantages.abs().masked_fill(~batch.mask, 0)
        term = Term("entropic", -log_ratio(batch).exp() * size, selected, output, over="micro")
        return dataclasses.replace(surrogate, terms=(*surrogate.terms, term)) if output else surrogate

    def report(self, summary: Summary) -> dict[str, float]:
        return super().report(summary) | {"selected_share": summary.mean("selected")}
