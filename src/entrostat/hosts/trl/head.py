"""Where TRL's forward pass shows the policy: hidden states at its fused head, or logits where a model returns them.

The log-probabilities of every pass, current, old, reference and evaluation, stay TRL's own, to the last bit: ratios of
unchanged weights are 1 and observing changes nothing, in any dtype. What is measured is computed beside them, in fp32, from
the same hidden states. (TRL's logits are rounded to the model's dtype; ours are not.)

One tap is set into TRL's fused head, once for the process. It only listens, and only inside `listening`. Under
`torch.compile` it hands its inputs out of the graph, which therefore stays one graph, compiled once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import trl
import trl.trainer.utils as trl_utils
from torch import Tensor

from entrostat.errors import HostError, MissingStatistic
from entrostat.stats import token_stats, token_stats_from_hidden
from entrostat.types import STATISTICS, TokenStats

_HEAD = "_ChunkedLogProbFunction"


@dataclass(frozen=True)
class Projection:
    """What one call of the head computes, over N rows: logits, or what goes into them.

    z = scale * (hidden @ weight.T + bias), bounded by softcap * tanh(z / softcap).
    """

    targets_N: Tensor
    logits_NV: Tensor | None = None
    hidden_Nd: Tensor | None = None
    weight_Vd: Tensor | None = None
    bias_V: Tensor | None = None
    softcap: float | None = None
    scale: float = 1.0
    autocast: bool = False

    def __len__(self) -> int:
        return len(self.targets_N)

    @property
    def vocabulary(self) -> int:
        """V."""
        if self.logits_NV is not None:
            return self.logits_NV.shape[-1]
        assert self.weight_Vd is not None
        return len(self.weight_Vd)

    def stats(self, want: frozenset[str], temperature: float, rows_N: Tensor | None = None) -> TokenStats:
        """Statistics of softmax(z / temperature); rows outside `rows_N` cost nothing and read 0."""
        if self.logits_NV is not None:
            return token_stats(self.logits_NV, self.targets_N, want, temperature)
        assert self.hidden_Nd is not None and self.weight_Vd is not None
        with self._precision():
            return token_stats_from_hidden(
                self.hidden_Nd, self.weight_Vd, self.targets_N, want, temperature, self.bias_V, self.scale, self.softcap, rows_N
            )  # fmt: skip

    def rows_of(self, labels: Tensor) -> Tensor | None:
        """Which of the N rows need statistics, from `completion_labels`; None: all.

        Off Triton devices TRL passes every position; those without a label need none.
        """
        return labels.reshape(-1) if len(self) == labels.numel() else None

    def logits(self, rows: Tensor) -> Tensor:
        """The logits of some rows, (n, V), fp32, rounded as the model's own head rounds them."""
        if self.logits_NV is not None:
            return self.logits_NV[rows].float()
        assert self.hidden_Nd is not None and self.weight_Vd is not None
        with self._precision():
            z = torch.nn.functional.linear(self.hidden_Nd[rows], self.weight_Vd, self.bias_V).float() * self.scale
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)

    def _precision(self) -> Any:
        assert self.hidden_Nd is not None
        return torch.autocast(self.hidden_Nd.device.type, enabled=self.autocast)


Measure = Callable[[Projection], TokenStats]


@dataclass
class Heard:
    """What the tap took down between entering `listening` and leaving it."""

    measure: Measure
    stats: list[TokenStats] = field(default_factory=list)
    handed_out: list[tuple[Any, ...]] = field(default_factory=list)


class _Tap:
    """Stands in for TRL's fused head and calls it; see the module's docstring."""

    head: Any = None
    listener: Heard | None = None
    factor: float = 1.0  # on the temperature that the head was made with

    def apply(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        chunk_size: int,
        softcap: float | None = None,
        scale: float = 1.0,
        *rest: Any,
    ) -> Any:
        if self.factor != 1.0:
            temperature = temperature * self.factor
        found = self.head.apply(hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, *rest)
        listener = self.listener
        if listener is not None:
            autocast = torch.is_autocast_enabled(hidden.device.type)
            seen = (hidden, weight, bias, targets, softcap, scale, autocast)
            if torch.compiler.is_compiling():
                listener.handed_out.append(seen)
            else:  # inside the forward pass, where sharded weights are whole
                listener.stats.append(listener.measure(_projection(*seen)))
        return found


_tap = _Tap()


def _projection(
    hidden: Any, weight: Any, bias: Any, targets: Any, softcap: Any, scale: Any, autocast: bool
) -> Projection:
    return Projection(
        targets, hidden_Nd=hidden, weight_Vd=weight, bias_V=bias, softcap=softcap, scale=scale, autocast=autocast
    )


def has_fused_head() -> bool:
    """Whether this TRL scores through a fused head (1.15 and newer) and not from full logits."""
    return hasattr(trl_utils, "add_fused_lm_head")


def install() -> None:
    """Set the tap into TRL's fused head, where this TRL has one; a second call does nothing."""
    if not has_fused_head() or getattr(trl_utils, _HEAD, None) is _tap:
        return
    head = getattr(trl_utils, _HEAD, None)
    names = list(inspect.signature(head.forward).parameters)[1:9] if head is not None else None
    expected = [
        "hidden",
        "weight",
        "bias",
        "targets",
        "temperature",
        "chunk_size",
        "final_logit_softcapping",
        "logit_scale",
    ]
    if names != expected:
        raise HostError(
            f"TRL {trl.__version__} has moved its fused head: {_HEAD}.forward takes {names}, expected {expected}. "
            "Entrostat needs an update for it"
        )
    _tap.head = head
    setattr(trl_utils, _HEAD, _tap)


@contextmanager
def at_temperature(host: Any, factor: float) -> Iterator[None]:
    """While inside, the trainer scores at `factor` times the temperature that it was configured with."""
    before = _tap.factor, host.temperature
    _tap.factor = factor
    host.temperature = host.args.temperature * factor  # read by a TRL without a fused head
    try:
        yield
    finally:
        _tap.factor, host.temperature = before


@contextmanager
def listening(model: Any, measure: Measure, input_ids: Tensor, columns: int) -> Iterator[Heard]:
    """While inside, forward passes of `model` are measured by `measure`, into `Heard.stats`.

    Args:
        input_ids: prompt and completion, (B, L); columns: how many of the last positions are completion tokens.
    """
    heard, rows = Heard(measure), 0

    def on_output(module: Any, args: Any, output: Any) -> None:
        nonlocal rows
        logits = getattr(output, "logits", None)
        if logits is None or logits.dim() != 3 or logits.shape[1] <= columns:
            return
        targets = input_ids[rows : rows + len(logits), -columns:]
        rows += len(logits)
        flat = logits[:, -columns - 1 : -1].reshape(-1, logits.shape[-1])
        if len(flat) == targets.numel():
            heard.stats.append(measure(Projection(targets.reshape(-1), logits_NV=flat)))

    hook = model.register_forward_hook(on_output)
    before, _tap.listener = _tap.listener, heard
    try:
        yield heard
    finally:
        _tap.listener = before
        hook.remove()
    for seen in heard.handed_out:
        gather = getattr(trl_utils, "maybe_gather_lm_head_ctx", None)
        with nullcontext() if gather is None else gather(seen[1], seen[2]):
            heard.stats.append(measure(_projection(*seen)))


def completion_labels(attention_mask: Tensor, columns: int) -> Tensor:
    """Which next tokens are of the completion, (B, L - 1): of the last `columns`, those that are no padding."""
    labels = attention_mask[:, 1:].bool().clone()
    labels[:, :-columns] = False
    return labels


def completion_rows(heard: Heard, labels: Tensor, columns: int) -> TokenStats:
    """The statistics of the completion tokens, (B, T), from the rows that the head scored."""
    if not heard.stats:
        raise MissingStatistic(
            "the policy's forward pass showed neither TRL's fused head nor logits, so nothing could be measured: leave the "
            "trainer's _get_per_token_logps_and_entropies and the model's forward as TRL makes them"
        )

    @cache
    def places() -> tuple[Tensor, ...]:
        return labels.nonzero(as_tuple=True)  # the host waits for their number: once, and not for each statistic

    def placed(parts: list[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        flat = torch.cat(known)
        more = flat.shape[1:]
        if len(flat) == len(labels) * columns:
            return flat.view(len(labels), columns, *more)
        if len(flat) == labels.numel():
            return flat.view(*labels.shape, *more)[:, -columns:]
        if len(flat) == len(places()[0]):
            return flat.new_zeros((*labels.shape, *more)).index_put(places(), flat)[:, -columns:]
        raise MissingStatistic(
            f"TRL's head scored {len(flat)} positions, expected {len(places()[0])} labels or all {labels.numel()}: packed "
            "or padded inputs and prompt-learning adapters are not supported"
        )

    named = {name: placed([getattr(stats, name) for stats in heard.stats]) for name in STATISTICS}
    extra = {of: placed([stats.extra.get(of) for stats in heard.stats]) for of in heard.stats[0].extra}
    return TokenStats(**named, extra={of: value for of, value in extra.items() if value is not None})
