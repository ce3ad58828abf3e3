"""What the statistics take: checked before anything is computed, on every device."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from entrostat.control.numbers import as_float, whole
from entrostat.errors import ConfigError, DataError
from entrostat.types import STATISTICS, Old, Statistic, Want
from entrostat.types.checks import refuse_unless

DEFAULT_WANT = ("logp", "entropy")

_COLDEST = 1e-20  # below it logits that a model can have, divided by the temperature, leave fp32


def check_want(want: Iterable[Want] | Want) -> tuple[frozenset[str], tuple[Statistic, ...]]:
    """The wanted statistics, named and parameterized, or `ConfigError` for a name that is none."""
    if not isinstance(want, str | Statistic | Iterable):
        raise ConfigError(f"want must be the names of statistics, as {set(DEFAULT_WANT)}, got {want!r}")
    every = {want} if isinstance(want, str | Statistic) else set(want)
    if other := [each for each in every if not isinstance(each, str | Statistic)]:
        raise ConfigError(f"unknown statistic {other[0]!r}: choose from {list(STATISTICS)}, or a Statistic")
    if old := [each for each in every if isinstance(each, Old)]:
        raise ConfigError(
            f"{old[0]} belongs to the policy that sampled: ask for {old[0].of!r} in the forward pass of that policy"
        )
    names = frozenset(each for each in every if isinstance(each, str))
    if unknown := names - set(STATISTICS):
        raise ConfigError(f"unknown statistics {sorted(unknown)}: choose from {list(STATISTICS)}, or a Statistic")
    return names, tuple(sorted((each for each in every if isinstance(each, Statistic)), key=str))


def check_temperature(temperature: float) -> float:
    """The temperature as a finite float above zero, or `ConfigError`."""
    found = positive("temperature", temperature)
    if found < _COLDEST:
        raise ConfigError(
            f"temperature must be at least {_COLDEST:g}, got {temperature!r}: logits divided by it would overflow. "
            "Greedy sampling has an entropy of 0 and no gradient"
        )
    return found


def positive(name: str, value: float) -> float:
    """The value as a finite float above zero, or `ConfigError`."""
    found = as_float(value)
    if found is None or not 0 < found < math.inf:
        raise ConfigError(f"{name} must be a finite number above zero, got {value!r}")
    return found


def check_size(name: str, size: int) -> None:
    """Refuse a chunk or tile of less than one entry: a loop in steps of it would fail, or see nothing."""
    whole(name, size, "a whole number of at least 1")


def check_whole(**tensors: Tensor | None) -> None:
    """Refuse tensors that are spread over ranks (DTensor): each rank would see its own part and take it for the whole."""
    for name, tensor in tensors.items():
        if hasattr(tensor, "full_tensor"):
            raise DataError(
                f"{name} is a DTensor, spread over ranks as {getattr(tensor, 'placements', None)}: pass {name}.full_tensor(), "
                "or call this where FSDP has gathered the head, inside the forward of the module that holds it"
            )


def token_ids(targets: Tensor, shape: torch.Size) -> Tensor:
    """The targets as int64, or `DataError` for another shape or a dtype that is none of token ids."""
    if targets.shape != shape:
        raise DataError(f"targets must have shape {tuple(shape)}, got {tuple(targets.shape)}")
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise DataError(f"targets must be token ids of an integer dtype, got {targets.dtype}")
    # An index of uint8 would be read as a mask, and one of int16 not at all.
    return targets.long()


def check_in_vocabulary(targets: Tensor, vocabulary: int) -> None:
    """Refuse token ids that the vocabulary does not hold."""
    refuse_unless(
        ((targets >= 0) & (targets < vocabulary)).all(),
        f"targets must lie in [0, {vocabulary})",
        lambda: f", got values from {int(targets.min())} to {int(targets.max())}",
    )


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """fp64 stays fp64, everything else is computed in fp32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
