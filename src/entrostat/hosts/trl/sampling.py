"""The policy that really sampled: the temperature and the support that generation reads, and its statistics.

top-k, top-p, min-p and suppressed tokens leave a support; the acting policy q is the softmax over it at the temperature of
sampling, while TRL's loss is of the whole softmax p at `args.temperature`. One step on the log-probability of token k moves
the logits by e_k - p, and so the entropy of q by

    dH(q) = -a D_k,     D_k = S_k - sum_i p_i S_i,     S_i = q_i (H(q) + log q_i), 0 outside the support

With q = p this is the library's D. What depends on the history (a repetition penalty) cannot be scored from logits alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from entrostat.errors import HostError
from entrostat.hosts.trl.head import Projection
from entrostat.stats import token_stats
from entrostat.stats.truncated import parameterized_stats
from entrostat.types import STATISTICS, Statistic, TokenStats, Want

_CHUNK = 1 << 24  # logits held at once: 64 MB of fp32

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (True,),
    "num_beams": (1,),
    "repetition_penalty": (1.0,),
    "presence_penalty": (0.0,),
    "frequency_penalty": (0.0,),
    "encoder_repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "typical_p": (1.0,),
    "top_h": (),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "bad_words_ids": ([],),
    "bad_words": ([],),
    "sequence_bias": ({},),
    "logit_bias": ({},),
    "allowed_token_ids": (),
    "begin_suppress_tokens": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "min_tokens": (0,),
    "guidance_scale": (1.0,),
    "watermarking_config": (),
    "penalty_alpha": (0.0,),
    "prompt_lookup_num_tokens": (),
    "structured_outputs": (),
    "guided_decoding": (),
}
"""Options that make sampling another policy than the softmax, each with the values that do not; None never does."""


@dataclass(frozen=True)
class Sampling:
    """What tokens are sampled from: softmax(z / temperature) over a support.

    Args:
        temperature: as sampling reads it. scored: as TRL's log-probabilities read it.
        top_k: 0, top_p: 1, min_p: 0 and no suppressed tokens leave the whole vocabulary.
    """

    temperature: float
    scored: float
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    suppressed: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether what is sampled from is the softmax that the loss sees."""
        return self.support is None and self.temperature == self.scored

    @property
    def support(self) -> str | None:
        """The options that cut the support, in words; None where nothing does."""
        cut = [
            f"{name}={value}"
            for name, value, none in (
                ("top_k", self.top_k, 0),
                ("top_p", self.top_p, 1.0),
                ("min_p", self.min_p, 0.0),
                ("suppress_tokens", list(self.suppressed), []),
            )
            if value != none
        ]
        return ", ".join(cut) or None

    def times(self, factor: float) -> Sampling:
        """The same with both temperatures `factor` times as high."""
        return replace(self, temperature=self.temperature * factor, scored=self.scored * factor)

    def stats(self, seen: Projection, want: frozenset[Want], rows_N: Tensor | None = None) -> TokenStats:
        """The statistics of the acting policy, flat over the projection's rows; rows outside `rows_N` read 0."""
        named: frozenset[str] = frozenset(name for name in want if isinstance(name, str))
        others = [of for of in want if isinstance(of, Statistic)]
        found = seen.stats(named, self.temperature, rows_N) if self.whole else TokenStats()
        names: list[Want] = [*([] if self.whole else [name for name in STATISTICS if name in named]), *others]
        count, device = len(seen), seen.targets_N.device
        rows = torch.arange(count, device=device) if rows_N is None else rows_N.nonzero().squeeze(1)
        if not names:
            return found
        parts = []
        for chunk in rows.split(max(1, _CHUNK // seen.vocabulary)):  # one chunk where there are no rows
            # Recomputed in the backward pass, so that no (N, V) tensor is kept.
            if torch.is_grad_enabled():
                parts.append(checkpoint(self._chunk, seen, chunk, names, use_reentrant=False))
            else:
                parts.append(self._chunk(seen, chunk, names))
        columns = [torch.cat(values) for values in zip(*parts, strict=True)]
        placed = {
            n: v.new_zeros((count, *v.shape[1:])).index_copy(0, rows, v) for n, v in zip(names, columns, strict=True)
        }
        changed: dict[str, Any] = {name: value for name, value in placed.items() if isinstance(name, str)}
        return replace(found, **changed, extra={of: placed[of] for of in others})

    def _chunk(self, seen: Projection, rows: Tensor, names: list[Want]) -> list[Tensor]:
        z, targets = seen.logits(rows), seen.targets_N[rows]
        acting = self._cut(z / self.temperature, targets)
        values = dict(parameterized_stats(acting, targets, [of for of in names if isinstance(of, Statistic)]))
        named = [name for name in names if isinstance(name, str)]
        if not named:
            return [values[name] for name in names]  # type: ignore[index]
        found = token_stats(acting, targets, (set(named) - {"baseline"}) | {"logp", "entropy"})
        plain: dict[Any, Any] = values | {name: getattr(found, name) for name in named if name != "baseline"}
        if "baseline" in named:
            with torch.no_grad():
                log_q = acting.log_softmax(-1)
                entropy = found.need("entropy").unsqueeze(-1)
                inner = log_q.exp() * (entropy + log_q.clamp_min(-1e4))
                plain["baseline"] = ((z / self.scored).softmax(-1) * inner).sum(-1)
        return [plain[name] for name in names]

    def _cut(self, scores: Tensor, targets: Tensor) -> Tensor:
        """-inf outside the support, in the order in which transformers cuts; what was sampled is always inside."""
        kept = scores.detach()
        if self.suppressed:
            kept = kept.index_fill(-1, torch.tensor(self.suppressed, device=kept.device), float("-inf"))
        none: Any = None  # these warpers read no ids
        if self.top_k:
            kept = TopKLogitsWarper(self.top_k)(none, kept)
        if self.top_p < 1:
            kept = TopPLogitsWarper(self.top_p)(none, kept)
        if self.min_p:
            kept = MinPLogitsWarper(self.min_p)(none, kept)
        outside = kept == float("-inf")
        outside.scatter_(-1, targets.unsqueeze(-1), False)
        return scores.masked_fill(outside, float("-inf"))


def sampling_of(host: Any) -> Sampling:
    """What a constructed trainer samples from; `HostError` where that cannot be scored exactly."""
    options = _options(host)
    check_options(options)
    _check_one_each(getattr(host.args, "generation_kwargs", None) or {})
    top_p, min_p = float(_or(options.get("top_p"), 1.0)), float(_or(options.get("min_p"), 0.0))
    if getattr(host, "use_vllm", False):
        _check_vllm(options, top_p, min_p)
    suppressed = options.get("suppress_tokens") or ()
    if list(suppressed) == [getattr(host.model.config, "image_token_id", None)]:
        suppressed = ()  # TRL's own; TRL's loss does not leave it out either
    return Sampling(
        temperature=float(_or(options.get("temperature"), 1.0)),
        scored=float(host.temperature),
        top_k=max(int(_or(options.get("top_k"), 0)), 0),  # vLLM says -1 for all
        top_p=top_p,
        min_p=min_p,
        suppressed=tuple(suppressed),
    )


def _check_vllm(options: Mapping[str, Any], top_p: float, min_p: float) -> None:
    """`HostError` where vLLM would sample from something else, or answer otherwise, than is scored and read."""
    if top_p < 1 and min_p > 0:
        raise HostError(
            f"vLLM applies min_p={min_p} before top_p={top_p}, transformers after it, so the tokens that could be sampled are "
            "not known. Set only one of them"
        )
    for name, neutral, why in (
        ("logprobs", 0, "TRL would take the log-probability of the likeliest token for that of the sampled one"),
        ("n", 1, "TRL asks for num_generations completions of a prompt itself, and expects one each time"),
    ):
        value = options.get(name)
        if value not in (None, neutral):
            raise HostError(f"generation_kwargs={{{name!r}: {value!r}}} under use_vllm: {why}. Leave {name} out")


def _check_one_each(given: Mapping[str, Any]) -> None:
    """`HostError` where generation would answer each row several times, for which TRL has no place."""
    value = given.get("num_return_sequences")
    if value not in (None, 1):
        raise HostError(
            f"generation_kwargs={{'num_return_sequences': {value!r}}}: TRL repeats each prompt num_generations times itself, and "
            "expects one completion of each row. Leave num_return_sequences out, and set num_generations"
        )


def check_options(options: Mapping[str, Any]) -> None:
    """`HostError` where options of generation make it sample from another policy than the softmax over a support."""
    for name, neutral in _NEUTRAL.items():
        value = options.get(name)
        if value is not None and value not in neutral:
            raise HostError(
                f"tokens are sampled with {name}={value!r}, so not from a softmax of one position's logits, and that entropy "
                f"cannot be measured. Leave {name} out of the trainer's arguments, its "
                f"generation_kwargs and the model's generation_config{_or_neutral(name, neutral)}"
            )


def _or_neutral(name: str, neutral: tuple[Any, ...]) -> str:
    return f", or set {name}={neutral[0]!r}" if neutral else ""


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _options(host: Any) -> Mapping[str, Any]:
    """Every option as generation reads it."""
    own = dict(getattr(host.args, "generation_kwargs", None) or {})
    if getattr(host, "use_vllm", False):
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
        plain = {name: getattr(host, name, None) for name in names}
        regex = getattr(host.args, "vllm_structured_outputs_regex", None) or getattr(
            host.args, "vllm_guided_decoding_regex", None
        )
        return plain | own | ({"structured_outputs": regex} if regex else {})
    config = getattr(host, "generation_config", None)
    given = config.to_dict() if config is not None else own
    # transformers fills what is None from the model's own generation config.
    usual = getattr(host.model, "generation_config", None)
    filled = usual.to_dict() if usual is not None else {}
    return filled | {name: value for name, value in given.items() if value is not None}


def sample_at(host: Any, sampling: Sampling) -> None:
    """Let the trainer sample from now on at this temperature, and score at its own."""
    host.temperature = sampling.scored
    for holder in ("generation_config", "vllm_generation"):
        if getattr(host, holder, None) is not None:
            getattr(host, holder).temperature = sampling.temperature
    vllm = getattr(host, "vllm_generation", None)
    for kwargs in (getattr(host, "generation_kwargs", None), getattr(vllm, "generation_kwargs", None)):
        if kwargs and "temperature" in kwargs:
            kwargs["temperature"] = sampling.temperature
