"""Warnings, once each, about calls that your own loop must make and did not: without them nothing else would show it."""

from __future__ import annotations

import torch

from entrostat.core.once import Once
from entrostat.methods import Chain
from entrostat.stats import ranks

SOON = 3
"""Steps after which every call that the method needs should have been made."""

UNSTEPPED = 1000
"""Micro-batches without a step after which a warning comes."""

EMPTY = 10
"""Steps in a row without a token after which a warning comes."""

_MISSED = {
    "score": "changes the advantages of whole groups in control.score(rollouts), which this loop never called, so this part "
    "of it has no effect. Call it on every generation's rollouts before you split them into batches",
    "temperature": "acts through the sampling temperature, and this loop never read control.temperature. Sample at that times "
    "your own temperature, and give token_stats the same",
    "group_temperatures": "samples some groups at a temperature of their own, and this loop never read "
    "control.group_temperatures(groups). Sample each group at its own, and give the batch the factors of its rows as tempered_B",
}


class Calls:
    """The calls that one loop has made, compared with those that its method needs.

    Args:
        delay: as given to `EntropyControl`.
        own: whether it is the user's own loop; hosts always make the calls that they need.
    """

    def __init__(self, method: Chain, delay: int, own: bool) -> None:
        self.method, self.delay, self.own = method, delay, own
        self.made: set[str] = set()
        self._steps = self._added = self._empty = 0
        self._once = Once()
        controllers = [knob for link in method.links for knob in link.feedback.values()]
        self._timed = any(hasattr(each, "delay") for each in controllers)

    @property
    def needed(self) -> set[str]:
        """The calls without which the method, or a part of it, does nothing."""
        return (
            ({"score"} if "reward" in self.method.stages else set())
            | ({"temperature"} if self.method.sets_temperature else set())
            | ({"group_temperatures"} if self.method.tempers_groups else set())
        )

    def added(self) -> None:
        """A micro-batch has joined the step's account."""
        self._added += 1
        if self._added == UNSTEPPED:
            self._say(
                "unstepped",
                f"{UNSTEPPED} micro-batches were added and control.step() was not called: the controller moves in it alone, and "
                "so far all of them count as one step. Call it once after each optimizer step",
            )

    def stepped(self, by: str, tokens: bool) -> None:
        """An optimizer step has ended, `by` "step" or "step_on", with or without tokens."""
        self._added = 0
        self._empty = 0 if tokens else self._empty + 1
        if self._empty == EMPTY:
            self._say(
                "empty",
                f"{EMPTY} steps in a row had no token: nothing is measured and the controller stands still. Call control.apply "
                "(or observe) on every micro-batch before control.step(), and look at the masks",
            )
        if self._timed and self.delay != (right := 0 if by == "step_on" else 1):
            self._say(
                "delay",
                f"{self.method.name!r} was told of a delay of {self.delay} and is moved by {by}, whose delay is {right}: it "
                f"foresees its own effect at the wrong step. Make it with EntropyControl(method, delay={right})",
            )
        self._steps += tokens
        # Other ranks may be sent what the first has sampled and scored.
        if self._steps == SOON and (not ranks.are_several() or torch.distributed.get_rank() == 0):
            for name in sorted(self.needed - self.made):
                self._say(name, f"{self.method.name!r} {_MISSED[name]} (docs/loop.md)")

    def _say(self, name: str, text: str) -> None:
        if self.own:
            self._once.say(name, text, stacklevel=4)
