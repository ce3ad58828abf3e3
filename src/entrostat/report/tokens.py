"""The token records of a run read back (`attribution.tokens` writes them), without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from entrostat.report.visible import one_line, visible

COLUMNS = ("logp", "entropy", "centered", "advantages", "ratio", "weight")
_PROMPT, _PIECE = 4_000, 200


@dataclass(frozen=True)
class TokenSample:
    """One recorded step.

    Attributes:
        lengths, full_lengths, rewards: (N,) of the completions.
        ids: (T,) of all completions' tokens, one after the other. columns: (T,) float32 by name.
        would: (T,) by method: the factor on each token's gradient. terms: by method, what it adds to the loss.
        texts: by token id. prompts: of the completions, or empty. vocabulary: (id, flow, count) by size of the flow.
    """

    step: int
    lengths: list[int]
    full_lengths: list[int]
    rewards: list[float]
    ids: list[int]
    columns: dict[str, Any]
    would: dict[str, Any]
    terms: dict[str, list[str]]
    texts: dict[int, str]
    prompts: list[str]
    vocabulary: list[tuple[int, float, int]] = field(default_factory=list)


def read_tokens(folder: Path) -> tuple[list[TokenSample], list[str]]:
    """The records in a folder, by step, and what could not be read of them, a sentence each."""
    samples, problems = [], []
    for path in sorted(folder.glob("step-*.safetensors")):
        try:
            samples.append(_read(path))
        except Exception as error:  # whatever a damaged file makes its parsers raise, the others are still shown
            problems.append(f"{one_line(path.name)} cannot be read: {one_line(str(error), 200)}")
    return sorted(samples, key=lambda sample: sample.step), problems


def _read(path: Path) -> TokenSample:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        told = file.metadata() or {}
    ids, lengths = tensors["ids"], tensors["lengths"]
    total = int(lengths.sum())
    per_token = {name: values for name, values in tensors.items() if name in COLUMNS or name.startswith("would/")}
    if wrong := [name for name, values in {"ids": ids, **per_token}.items() if values.shape != (total,)]:
        raise ValueError(f"{wrong[0]} has not the {total} tokens of its completions")
    vocabulary = zip(
        *(tensors[f"vocabulary/{name}"].tolist() for name in ("ids", "flow", "count")),
        strict=True,
    )
    prompts = json.loads(told.get("prompts", "[]"))
    return TokenSample(
        step=int(told["step"]),
        lengths=lengths.tolist(),
        full_lengths=tensors["full_lengths"].tolist(),
        rewards=tensors["rewards"].tolist(),
        ids=ids.tolist(),
        columns={name: tensors[name].astype(np.float32) for name in COLUMNS},
        would={name.removeprefix("would/"): values for name, values in per_token.items() if "/" in name},
        terms=json.loads(told.get("terms", "{}")),
        texts={int(token): visible(text, _PIECE) for token, text in json.loads(told["texts"]).items()},
        prompts=[visible(str(prompt), _PROMPT) for prompt in prompts],
        vocabulary=list(vocabulary),
    )


def chosen(samples: list[TokenSample], completions: int) -> list[TokenSample]:
    """The records that fit a page of so many completions: the first, the last, and evenly between."""
    if sum(len(sample.lengths) for sample in samples) <= completions:
        return samples
    for count in range(len(samples) - 1, 0, -1):
        places = np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int)) if count > 1 else [-1]
        picked = [samples[place] for place in places]
        if sum(len(sample.lengths) for sample in picked) <= completions:
            return picked
    return samples[-1:]
