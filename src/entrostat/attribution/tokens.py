"""A sample of a run's tokens on disk: what each token did to the entropy, and what every method would do to it.

    control.recorder = TokenRecorder("runs/mine/tokens", every=25, decode=tokenizer.decode)

Every so many optimizer steps a few completions are kept with all their numbers, and the tokens of the vocabulary whose flow
was largest over the whole step. One safetensors file per recorded step, written whole or not at all:

    lengths, full_lengths, rewards   (N,)   tokens kept of each completion, all of them, its reward (NaN where unknown)
    ids, logp, entropy, centered, advantages, ratio, weight        (sum of lengths,)
    would/<method>          (sum of lengths,)   factor on the token's gradient under each preset, asked to raise the entropy
    vocabulary/ids, vocabulary/flow, vocabulary/count             (K,)

The folder stays below its limit: when it is reached, every other file is deleted and the interval between records doubles.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from entrostat.attribution.would import factor, would_do
from entrostat.core.whole_file import write_whole
from entrostat.errors import ConfigError, SaveError
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Surrogate, TokenBatch, Want

SCHEMA = "1"
_VOCABULARY = 64  # tokens kept of those with the largest flow
_PROMPT, _PIECE = 8_000, 400  # characters kept of a prompt and of one token


class TokenRecorder:
    """Keeps completions of some optimizer steps; `EntropyControl.recorder` calls it.

    Args:
        folder: where the files go; made when the first is written.
        every: optimizer steps between records; the first step is recorded too.
        completions: completions of each recorded step, spread evenly over its first micro-batch.
        length: tokens kept of each completion.
        megabytes: largest size of the folder.
        decode: token ids -> text; without it a token is shown by its id.
        step: the step from which a resumed run goes on; later records are deleted, since their steps are taken again.

    Raises:
        ConfigError: a number that is not positive, or a `decode` that is not a function.
    """

    def __init__(
        self,
        folder: str | Path,
        every: int = 25,
        completions: int = 8,
        length: int = 1024,
        megabytes: float = 64.0,
        decode: Callable[[Sequence[int]], str] | None = None,
        step: int = 0,
    ) -> None:
        check_sizes(every=every, completions=completions, length=length, megabytes=megabytes)
        if decode is not None and not callable(decode):
            raise ConfigError(f"decode must be a function from token ids to text, as tokenizer.decode, got {decode!r}")
        self.folder, self.every, self.completions, self.length = Path(folder), every, completions, length
        self.bytes, self.decode = megabytes * 1e6, decode
        self._warned = False
        self._kept: dict[str, Any] | None = None
        self._flow: dict[int, tuple[float, int]] = {}
        for path in self._files():
            if _step_of(path) > step:
                path.unlink()

    @property
    def needs(self) -> frozenset[Want]:
        """The statistics that a batch must have to be recorded: `EntropyControl.wants` has them in it."""
        return frozenset({"logp", "entropy", "baseline"})

    def due(self, step: int) -> bool:
        """Whether this optimizer step (from 1) is recorded."""
        return step == 1 or step % self.every == 0

    @torch.no_grad()
    def add(self, step: int, batch: TokenBatch, changed: Surrogate) -> None:
        """A micro-batch of optimizer step `step`, and what the method made of its objective; nothing where none is due."""
        if not self.due(step) or not batch.mask.any():
            return
        lacking = [
            *(["ids_BT"] if batch.ids_BT is None else []),
            *sorted(map(str, self.needs - batch.stats.available())),
        ]
        if lacking:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"no tokens are recorded: the batch has no {', '.join(lacking)}; ask token_stats for want=control.wants, and "
                    "give the batch the tokens' ids_BT",
                    stacklevel=3,
                )
            return
        self._count(batch)
        if self._kept is None:
            self._kept = self._sample(batch, changed)

    def finish(self, step: int) -> Path | None:
        """The optimizer step has ended: write what was kept of it.

        Raises:
            SaveError: the file cannot be written.
        """
        kept, flow = self._kept, self._flow
        self.discard()
        if kept is None:
            return None
        top = sorted(flow, key=lambda token: -abs(flow[token][0]))[:_VOCABULARY]
        tensors = kept["tensors"] | {
            "vocabulary/ids": torch.tensor(top, dtype=torch.int32),
            "vocabulary/flow": torch.tensor([flow[token][0] for token in top], dtype=torch.float32),
            "vocabulary/count": torch.tensor([flow[token][1] for token in top], dtype=torch.int32),
        }
        texts = {int(token): self._text([token])[:_PIECE] for token in {*tensors["ids"].tolist(), *top}}
        told = {"schema": SCHEMA, "step": str(step), "texts": texts, **kept["told"]}
        path = self.folder / f"step-{step:08d}.safetensors"
        _write(path, tensors, {k: v if isinstance(v, str) else json.dumps(v) for k, v in told.items()})
        self._thin()
        return path

    def discard(self) -> None:
        """Forget the micro-batches of an unfinished step."""
        self._kept, self._flow = None, {}

    def _count(self, batch: TokenBatch) -> None:
        """Add up the flow of each token of the vocabulary."""
        mask = batch.mask
        flow = (-batch.ratio * batch.advantages_BT * batch.stats.detach().centered)[mask]
        ids, where = batch.ids_BT[mask].unique(return_inverse=True)  # type: ignore[index]
        sums = torch.zeros(len(ids), dtype=sum_dtype(flow.device), device=flow.device)
        sums.index_add_(0, where, flow.to(sums.dtype))
        counts = torch.bincount(where, minlength=len(ids))
        for token, total, count in zip(ids.tolist(), sums.tolist(), counts.tolist(), strict=True):
            before = self._flow.get(token, (0.0, 0))
            self._flow[token] = before[0] + total, before[1] + count

    def _sample(self, batch: TokenBatch, changed: Surrogate) -> dict[str, Any]:
        """The chosen completions' tokens, flat, and what is said about them in words."""
        rows = batch.mask.any(1).nonzero()[:, 0].tolist()
        count = min(self.completions, len(rows))
        rows = [rows[index * len(rows) // count] for index in range(count)]
        within = batch.mask[rows] & (batch.mask[rows].cumsum(1) <= self.length)
        stats = batch.stats.detach()
        columns = {
            "ids": batch.ids_BT,
            "logp": stats.logp,
            "entropy": stats.entropy,
            "centered": stats.centered,
            "advantages": batch.advantages_BT,
            "ratio": batch.ratio,
            "weight": factor(changed, batch),
        }
        would = would_do(batch)
        columns |= {f"would/{name}": value for name, (value, _) in would.items()}
        tensors = {name: _plain(value[rows][within], name) for name, value in columns.items()}  # type: ignore[index]
        tensors["lengths"] = within.sum(1).to(torch.int32).cpu()
        tensors["full_lengths"] = batch.mask[rows].sum(1).to(torch.int32).cpu()
        rewards = batch.rewards_B
        nothing = torch.full((count,), math.nan)
        tensors["rewards"] = nothing if rewards is None else rewards[rows].float().cpu().contiguous()
        prompts = [] if batch.prompts_B is None else [self._text(batch.prompts_B[row])[:_PROMPT] for row in rows]
        told = {"prompts": prompts, "rows": rows, "terms": {name: terms for name, (_, terms) in would.items() if terms}}
        return {"tensors": tensors, "told": told}

    def _text(self, prompt: Any) -> str:
        if isinstance(prompt, str):
            return prompt
        ids = prompt.tolist() if isinstance(prompt, Tensor) else list(prompt)
        return self.decode(ids) if self.decode else " ".join(map(str, ids))

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))

    def _thin(self) -> None:
        """Keep the folder below its limit: the first and the last record stay, of the others every second goes."""
        files = self._files()
        while len(files) > 2 and sum(path.stat().st_size for path in files) > self.bytes:
            for path in files[1:-1:2]:
                path.unlink()
            self.every *= 2
            files = self._files()


def check_sizes(**asked: Any) -> None:
    """`ConfigError` where one of `every`, `completions`, `length`, `megabytes` is none, or not above 0."""
    for name, value in asked.items():
        if name not in ("every", "completions", "length", "megabytes"):
            raise ConfigError(f"tokens.{name}: there are every, completions, length and megabytes")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"tokens.{name} must be above 0, got {value!r}; to record nothing, leave tokens out")


def _plain(values: Tensor, name: str) -> Tensor:
    dtype = torch.int32 if name == "ids" else torch.float16 if name.startswith("would/") else torch.float32
    return values.to(dtype).cpu().contiguous()


def _step_of(path: Path) -> int:
    digits = path.stem.removeprefix("step-")
    return int(digits) if digits.isdecimal() else 0


def _write(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> None:
    """Whole or not at all."""
    from safetensors.torch import save

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(dict(tensors), dict(told)))
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror or error}. Free space, or record no tokens") from error
