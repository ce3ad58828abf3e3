"""The published methods: each an alias for a chain, beside its paper, its defaults and our deviations.

Every preset that holds a target takes it as its first argument: nats per token, `Initial()`, a schedule or a `Band`.
"""

from __future__ import annotations

from typing import Literal

from entrostat.control import PI, Knob, SelfTuning, Step, Target
from entrostat.errors import ConfigError
from entrostat.methods.account import Account
from entrostat.methods.base import Source
from entrostat.methods.bonus import EntropyBonus
from entrostat.methods.chain import Chain
from entrostat.methods.clip_range import ClipRange
from entrostat.methods.clip_tokens import ClipTokens
from entrostat.methods.entropic import Entropic, Select
from entrostat.methods.flow import Flow, Samples, Shape
from entrostat.methods.only_tokens import OnlyTokens
from entrostat.methods.registry import preset, source
from entrostat.methods.reward_advantages import RewardAdvantages
from entrostat.methods.temperature import Temperature

_GLOBAL_MEASUREMENT = (
    "the controller is stepped once per optimizer step, on the exact mean over all micro-batches and ranks; its "
    "output acts from the next step on"
)
_BATCH_SCOPE = (
    "mean and deviation come from the last optimizer step over all its tokens (scope='step'); the release takes them "
    "from the batch at hand, which scope='micro' does for one micro-batch"
)


def _chain(name: str, *links: object) -> Chain:
    return Chain(tuple(links), name, source(name))  # type: ignore[arg-type]


def _holding(
    target: Target,
    settling: float | None,
    kp: float | None,
    ki: float | None,
    limits: tuple[float, float],
    controller: Knob | None,
) -> Knob:
    """The controller of a preset that takes these settings: the one given, a self-tuning one, or PI with fixed gains."""
    if controller is not None:
        return controller
    if kp is None and ki is None:
        return SelfTuning(target, 30.0 if settling is None else settling, limits)
    if settling is None:
        return PI(target, kp or 0.0, ki or 0.0, limits)
    raise ConfigError(f"settling={settling} beside kp={kp}, ki={ki}: fixed gains have a settling time of their own")


@preset(
    Source(
        "Entrostat (docs/frontier.md; the bonus: 1602.01783)",
        "docs/methods/hold.md",
        "gains found while it runs, for a settling time of 30 steps; coefficient within (-1, 1)",
    )
)
def hold(
    target: Target,
    settling: float | None = None,
    kp: float | None = None,
    ki: float | None = None,
    limits: tuple[float, float] = (-1.0, 1.0),
    controller: Knob | None = None,
) -> Chain:
    """Hold the entropy by the actuator that measurements speak for: an entropy bonus of either sign, set by a controller.

    Of all that act through the gradient it reaches furthest (docs/frontier.md).

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of itself; 30 where nothing is said. The gains
            follow from it, see `SelfTuning`.
        kp, ki: fixed gains of a PI controller in place of the self-tuning one; what is left out is 0.
        limits: lowest and highest coefficient.
        controller: replaces the controller and its target.

    Raises:
        ConfigError: a settling time beside fixed gains, which have their own.
    """
    return _chain("hold", EntropyBonus(_holding(target, settling, kp, ki, limits, controller)))


@preset(Source("none", "plain policy optimisation", "measures, changes nothing"))
def observe(account: bool = True) -> Chain:
    """Measure and log; leave the objective as the host made it.

    Args:
        account: log the entropy flow too, which needs the baseline statistic.
    """
    return _chain("observe", *([Account()] if account else []))


@preset(
    Source(
        "Entrostat (joins 2511.15248 and 2602.03392)",
        "docs/methods/flow.md",
        "gains found while it runs, for a settling time of 30 steps; output within (-2, 2), w_max 5",
    )
)
def flow(
    target: Target,
    settling: float | None = None,
    kp: float | None = None,
    ki: float | None = None,
    limits: tuple[float, float] = (-2.0, 2.0),
    w_max: float = 5.0,
    scope: Literal["step", "micro"] = "step",
    shape: Shape = "flow",
    samples: Samples = "all",
    controller: Knob | None = None,
) -> Chain:
    """Hold the entropy by weighting each token by its own effect on it.

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of itself; 30 where nothing is said. The gains
            follow from it, see `SelfTuning`.
        kp, ki: fixed gains of a PI controller in place of the self-tuning one; what is left out is 0.
        limits: lowest and highest output.
        w_max: largest weight of a token.
        scope, shape, samples: how a token's share is found, and whose tokens are weighted; see `Flow`.
        controller: replaces the controller and its target.

    Raises:
        ConfigError: a settling time beside fixed gains, which have their own.
    """
    u = _holding(target, settling, kp, ki, limits, controller)
    return _chain("flow", Flow(u, w_max, scope, shape, samples))


@preset(
    Source(
        "Entrostat",
        "docs/methods/temperature.md",
        "settling time 15 steps; temperature within (0.25, 4) of the host's, at most 5 % a step",
    )
)
def temperature(
    target: Target,
    settling: float = 15.0,
    rate: float = 0.01,
    limits: tuple[float, float] = (0.25, 4.0),
    controller: Knob | None = None,
) -> Chain:
    """Hold the entropy by the sampling temperature; the gradient is left as it is.

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of itself, see `SelfTuning`.
        rate: change of log T per step and unit of output; the output stays within (-5, 5).
        limits: lowest and highest temperature, relative to the host's.
        controller: replaces the controller, its target and its settling time.
    """
    if controller is None:
        # The temperature acts at once: no momentum lies between the output and the entropy.
        controller = SelfTuning(target, settling, (-5.0, 5.0), momentum=0.0)
    return _chain("temperature", Temperature(controller, rate, limits))


@preset(
    Source(
        "2511.15248",
        "EntroPIC, Algorithm 1; released as a verl recipe (yk7333/EntroPIC)",
        "kp 1, ki 0.01, threshold 0.95, output within (-1, 1), no anti-windup, integral read before it is advanced",
        (
            "the release steps a controller per rank and micro-batch; here " + _GLOBAL_MEASUREMENT,
            "the integral is saved with the checkpoint; the release loses it",
            "a negative target is an error; in the release it turns control off",
            "the added term is averaged over the selected tokens of each micro-batch, as released; with "
            "normaliser='all' it is a weight within the clipped loss instead",
        ),
    )
)
def entropic(
    target: Target,
    kp: float = 1.0,
    ki: float = 0.01,
    threshold: float = 0.95,
    select: Select = "probability",
    normaliser: Literal["all", "selected"] = "selected",
    limits: tuple[float, float] = (-1.0, 1.0),
    anti_windup: bool = False,
    integral_read: Literal["after", "before"] = "before",
    controller: Knob | None = None,
) -> Chain:
    """EntroPIC: weight positive and negative samples by (1 + u) and (1 - u) on high-probability tokens.

    Args:
        target: entropy to hold [nats per token].
        kp, ki: gains; `ki=0` is the paper's P controller.
        threshold, select, normaliser: which tokens, and over what their term is averaged; see `Entropic`.
        limits, anti_windup, integral_read: of the controller, see `PI`.
        controller: replaces the PI controller and its target.
    """
    if controller is None:
        controller = PI(target, kp, ki, limits, anti_windup=anti_windup, integral_read=integral_read)
    return _chain("entropic", Entropic(controller, select, threshold, normaliser))


@preset(
    Source(
        "2602.03392",
        "Clip_B, Section 4; Trinity-RFT clipb_advantage.py",
        "mu 2.5; the paper sweeps 2.0 to 3.0",
        (
            _BATCH_SCOPE,
            "the entropy and the log-probability both come from the policy being trained; the release "
            "takes the log-probability from the rollout engine",
        ),
    )
)
def clip_b(mu: Knob = 2.5, two_sided: bool = False, scope: Literal["step", "micro"] = "step") -> Chain:
    """Drop tokens of negative advantage whose discriminator S lies more than mu deviations below the batch's mean."""
    return _chain("clip_b", ClipTokens(mu, "batch", two_sided, scope=scope))


@preset(
    Source(
        "2602.03392",
        "Clip_V, Section 4; Trinity-RFT clipv_advantage.py",
        "mu 8.5, at most 1e-4 of the tokens; the paper sweeps 7.5 to 8.5",
        (
            _BATCH_SCOPE,
            "the cap on dropped tokens counts within each micro-batch; the release counts over the batch",
            "statistics come from the forward pass of the update; the release recomputes the old policy's",
            "tokens of zero advantage stay; the release also drops outliers among them, outside its cap, which changes "
            "nothing but the denominator of the mean",
        ),
    )
)
def clip_v(
    mu: Knob = 8.5,
    two_sided: bool = False,
    largest_share: float = 1e-4,
    scope: Literal["step", "micro"] = "step",
) -> Chain:
    """Drop tokens of negative advantage whose centred discriminator S - B lies more than mu deviations below zero."""
    return _chain("clip_v", ClipTokens(mu, "vocabulary", two_sided, largest_share, scope))


@preset(Source("1602.01783", "entropy regularisation; TRL entropy_coef, verl entropy_coeff", "0.001"))
def entropy_bonus(coef: Knob = 1e-3) -> Chain:
    """loss - coef * mean entropy; the coefficient may be a schedule or a controller."""
    return _chain("entropy_bonus", EntropyBonus(coef))


@preset(
    Source(
        "2505.22312",
        "Skywork-OR1 adaptive entropy control, EntController of its release",
        "target 0.2, delta 1e-4, coefficient within (0, 5e-3)",
        (_GLOBAL_MEASUREMENT,),
    )
)
def skywork(
    target: Target = 0.2, delta: float = 1e-4, limits: tuple[float, float] = (0.0, 5e-3), start: float = 0.0
) -> Chain:
    """Skywork-OR1 (AEC): an entropy bonus below the target, whose coefficient moves by delta each step."""
    return _chain("skywork", EntropyBonus(Step(target, delta, limits, start)))


_DECOMPOSED = (
    "rows that do not count leave the loss by mask; the release trims the batch to them, and its rows to a multiple "
    "of the world size"
)


@preset(
    Source("2506.01347", "negative sample reinforcement; RLVR-Decomposed", "A = -1 for wrong samples", (_DECOMPOSED,))
)
def nsr(weight: Knob = 1.0) -> Chain:
    """Train on wrong samples alone (NSR): keeps diversity, drifts up without bound."""
    return _chain("nsr", RewardAdvantages(0.0, weight))


@preset(
    Source("2506.01347", "positive sample reinforcement; RLVR-Decomposed", "A = 1 for correct samples", (_DECOMPOSED,))
)
def psr(weight: Knob = 1.0) -> Chain:
    """Train on correct samples alone (PSR): sharpens, collapses."""
    return _chain("psr", RewardAdvantages(weight, 0.0))


@preset(Source("2506.01347", "W-REINFORCE; RLVR-Decomposed", "weight 0.1 on correct samples, 1 on wrong ones"))
def w_reinforce(positive: Knob = 0.1) -> Chain:
    """Binary rewards without baseline, correct samples weighted down."""
    return _chain("w_reinforce", RewardAdvantages(positive, 1.0))


@preset(
    Source(
        "2503.14476",
        "DAPO clip-higher",
        "eps_low 0.2, eps_high 0.28",
        ("does nothing while every importance ratio is 1; the host warns of it",),
    )
)
def clip_higher(eps_high: Knob = 0.28, eps_low: Knob | None = 0.2) -> Chain:
    """Asymmetric clip range; `eps_high` may be a controller, which makes it an adaptive upper clip (2603.11682)."""
    return _chain("clip_higher", ClipRange(eps_high, eps_low))


@preset(Source("2602.03392", "the interventions that test the theorem", "one sign of advantage, one of S"))
def only_tokens(
    samples: Literal["positive", "negative"] = "positive", discriminator: Literal["positive", "negative"] = "positive"
) -> Chain:
    """Train on the tokens of one sign of advantage and one sign of the discriminator alone."""
    return _chain("only_tokens", OnlyTokens(samples, discriminator))


__all__ = [
    "clip_b",
    "clip_higher",
    "clip_v",
    "entropic",
    "entropy_bonus",
    "flow",
    "hold",
    "nsr",
    "observe",
    "only_tokens",
    "psr",
    "skywork",
    "temperature",
    "w_reinforce",
]
