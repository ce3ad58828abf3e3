"""Methods whose strength is a knob, that knob driven to half of the initial entropy by the same self-tuning controller.

The limits of a knob are where its method still is what its paper describes; it starts at the paper's value.
"""

from __future__ import annotations

from collections.abc import Callable

import entrostat as es
from entrostat.control import Initial, SelfTuning
from entrostat.methods import Chain

TARGET = Initial(0.5)
ALWAYS = 100.0  # [nats] a gate "below this entropy" that never shuts


def _knob(low: float, high: float, start: float) -> SelfTuning:
    return SelfTuning(TARGET, limits=(low, high), start=start)


def _make(name: str, knob: str, low: float, high: float, start: float, **fixed: object) -> Callable[[], Chain]:
    return lambda: es.make(name, **{knob: _knob(low, high, start)}, **fixed)


PLAIN = "observe"
DRIVEN: dict[str, tuple[str, Callable[[], Chain]]] = {
    "hold": ("coef in [-1, 1]", lambda: es.make("hold", target=TARGET)),
    "flow": ("u in [-2, 2]", lambda: es.make("flow", target=TARGET)),
    "temperature": ("u in [-5, 5]", lambda: es.make("temperature", target=TARGET)),
    "entropic": ("u in [-1, 1]", _make("entropic", "controller", -1, 1, 0)),
    "tre": ("coef in [-1, 1]", _make("tre", "coef", -1, 1, 0)),
    "aent": ("coef in [-1, 1]", _make("aent", "coef", -1, 1, 0)),
    "reheat": ("coef in [0, 1]", _make("reheat", "coef", 0, 1, 0.01)),
    "repo": ("beta in [-1, 1]", _make("repo", "beta", -1, 1, 0)),
    "repo_r": ("zeta in [-1, 1]", _make("repo_r", "zeta", -1, 1, 0)),
    "clip_b": ("mu in [0, 4]", _make("clip_b", "mu", 0, 4, 2.5)),
    "clip_v": ("mu in [0, 8.5], no cap", _make("clip_v", "mu", 0, 8.5, 8.5, largest_share=1.0)),
    "entropy_advantage": ("alpha in [0, 4]", _make("entropy_advantage", "alpha", 0, 4, 0.4)),
    "stare": ("up in [1, 5], gate open", _make("stare", "up", 1, 5, 1.1, target=ALWAYS)),
    "unlikeliness": ("beta in [0, 1]", _make("unlikeliness", "beta", 0, 1, 0.25)),
    "w_reinforce": ("positive in [0, 1]", _make("w_reinforce", "positive", 0, 1, 0.1)),
    "positive_reweighting": ("weight in [0, 1]", _make("positive_reweighting", "weight", 0, 1, 1)),
}
"""Name -> what is driven, and the method. On-policy: one update on each batch."""

STALE: dict[str, tuple[str, Callable[[], Chain]]] = {
    "hold": DRIVEN["hold"],
    "clip_higher": ("eps_high in [0.05, 5]", _make("clip_higher", "eps_high", 0.05, 5, 0.28)),
    "kl_cov": ("coef in [0, 10], a tenth of the tokens", _make("kl_cov", "coef", 0, 10, 1, share=0.1)),
    "lp_reg": ("coef in [0, 10], a tenth of the tokens", _make("lp_reg", "coef", 0, 10, 1, share=0.1)),
}
"""Those that act on stale data alone: four updates on each batch."""


def build(name: str, stale: bool) -> Chain:
    """A method of either table, or plain training."""
    return es.make(PLAIN) if name == PLAIN else (STALE if stale else DRIVEN)[name][1]()
