"""Warnings about a run while it goes on, once each. Only a run in which nothing can be measured any more ends with an error."""

from __future__ import annotations

import math
from collections.abc import Mapping

from entrostat.control.self_tuning import SHORTEST_MEMORY
from entrostat.core.once import Once
from entrostat.errors import DataError
from entrostat.types import Summary

UNMEASURED = 10
"""Steps in a row without a finite entropy that end a run."""

SILENT = 10
"""Steps in a row without a single advantage after which a warning comes."""
MISFIT = 60
"""Steps in a row at the estimator's shortest memory after which a warning comes."""

# A standing gap of so many standard errors, and of so much of the entropy, is no chance and no rounding.
_ERRORS, _SHARE = 8.0, 0.03


class Watch:
    """The warnings of one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.skipped = 0
        self._in_a_row = 0
        self._once = Once()
        self._lasting: dict[str, int] = {}
        self._gap = self._variance = self._tokens = self._entropy = 0.0

    def unmeasured(self, standard: Summary) -> bool:
        """Whether the step has no finite entropy, so that the controller must leave it out.

        Raises:
            DataError: it is the tenth in a row.
        """
        measured = standard.mean("entropy")
        if math.isfinite(measured):
            self._in_a_row = 0
            return False
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= UNMEASURED:
            raise DataError(
                f"the measured entropy was {measured} in {self._in_a_row} steps in a row: the policy's logits hold NaN or "
                "infinity. The controller's state was left as it was; go on from the last checkpoint with a lower learning "
                "rate or gradient clipping"
            )
        self._say(
            "unmeasured",
            f"the measured entropy is {measured}: the policy's logits hold NaN or infinity in this step. The controller leaves "
            f"it out, and ends the run after {UNMEASURED} in a row (metric entropy_control/skipped_steps)",
        )
        return True

    def judged(self, metrics: Mapping[str, float], standard: Summary) -> dict[str, float]:
        """Say what the step shows to be impossible; metrics of the watch itself."""
        if metrics.get("reachable") == 0:
            self._say(
                "reachable",
                f"{self.name!r}: no output brings the entropy, {metrics['measured']:.4f} nats, to its target, "
                f"{metrics['target']:.4f}, or it takes far too long (output now {metrics['output']:.4g}). Within one settling "
                f"time the limits reach {metrics['reach_low']:.4f} to {metrics['reach_high']:.4f} nats: "
                "choose a target there, wider limits, a higher learning rate or another method",
            )
        if metrics.get("identified") == -1 and metrics["gain"] < -metrics["gain_sd"]:
            self._say(
                "reversed",
                f"{self.name!r}: the entropy goes the other way than its output pushes (gain {metrics['gain']:.2g}, standard "
                f"error {metrics['gain_sd']:.2g} nats per step and unit of effort), so the output goes back to where it started. "
                "In the first steps that may be chance and pass; if entropy_control/identified stays at -1, take larger batches, "
                "a smaller learning rate or another method",
            )
        elif metrics.get("identified") == -1:
            self._say(
                "identified",
                f"{self.name!r}: what its output does to the entropy cannot be told from noise (gain "
                f"{metrics['gain']:.2g}, standard error {metrics['gain_sd']:.2g} nats per step and unit of effort); "
                "cautious gains stay in use. Larger batches make the measurement less noisy",
            )
        if self._lasts("silent", not standard.get("tokens/positive") and not standard.get("tokens/negative"), SILENT):
            self._say(
                "silent",
                f"every advantage was 0 in {SILENT} steps in a row: no group of completions has rewards that differ. A method "
                "that acts on advantages can do nothing, and the policy learns nothing. Look at the rewards; take harder or "
                "easier problems, or more completions for each",
            )
        if self._lasts("misfit", 0 < metrics.get("memory", 0.0) <= SHORTEST_MEMORY, MISFIT):
            self._say(
                "misfit",
                f"{self.name!r}: in {MISFIT} steps in a row the entropy went otherwise than the controller's model foresees, "
                "whatever its pace: many updates on one batch, a delay or momentum other than told, or an effect that jumps. "
                "It goes on with a weak feedback; tell it of the delay (0 or 1) and the optimizer's momentum, or take another "
                "batch for each update",
            )
        return self._lost(standard) | self._sampled(standard)

    def _lost(self, standard: Summary) -> dict[str, float]:
        """Tokens whose advantage is NaN or infinite: said once, and counted."""
        lost = standard.get("tokens/not_finite")
        if not lost:
            return {}
        self._say(
            "lost",
            f"the advantage of {lost:.0f} of {standard.tokens:.0f} tokens is NaN or infinite: a reward was NaN or infinite. The "
            "measurements leave them out (entropy_control/advantages_not_finite counts them), but the loss of the step is wrong. "
            "Look at the rewards",
        )
        return {"advantages_not_finite": lost}

    def _lasts(self, name: str, now: bool, steps: int) -> bool:
        """Whether something has been so for `steps` steps in a row."""
        self._lasting[name] = self._lasting.get(name, 0) + 1 if now else 0
        return self._lasting[name] >= steps

    def _sampled(self, standard: Summary) -> dict[str, float]:
        """On-policy, the surprisal equals the entropy on average, so a lasting gap shows that another distribution was sampled.

        Given the tokens before, each token's difference has mean 0, so its sum has the variance of its squares. After an update,
        the sequences that kept their probability are those of near-certain tokens and no fair sample, so only steps in which
        every token is on-policy count.
        """
        if not 0 < standard.measured <= standard.get("on_policy/tokens"):
            return {}
        self._gap += standard.get("on_policy/gap")
        self._variance += standard.get("on_policy/gap_sq")
        self._tokens += standard.get("on_policy/tokens")
        self._entropy += standard.get("on_policy/tokens") * standard.mean("entropy")
        errors = self._gap / math.sqrt(self._variance) if self._variance else 0.0
        if abs(errors) > _ERRORS and abs(self._gap) > _SHARE * self._entropy:
            gap, entropy = self._gap / self._tokens, self._entropy / self._tokens
            self._say(
                "sampled",
                f"the sampled tokens are {abs(gap):.4f} nats {'more' if gap > 0 else 'less'} surprising than the measured "
                f"entropy of {entropy:.4f} nats says ({abs(errors):.0f} standard errors): they were drawn from another "
                "distribution than the one that is measured. Look for top_p, top_k, min_p, a repetition penalty, another "
                "temperature, or weights that the sampler has not got yet",
            )
        own, spread = standard.get("on_policy/gap"), math.sqrt(standard.get("on_policy/gap_sq"))
        return {
            "sampling_gap": own / standard.get("on_policy/tokens"),
            "sampling_gap_errors": own / spread if spread else 0.0,
        }

    def _say(self, name: str, text: str) -> None:
        self._once.say(name, text, stacklevel=5)
