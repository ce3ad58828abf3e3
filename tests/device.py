"""The device that device-independent tests run on: ENTROSTAT_TEST_DEVICE, otherwise CUDA where there is one.

`on_device` puts what a test makes there, without a word in the test: every tensor made by a function of torch that is called
from a file of the tests, directly or through torch and transformers. What the library makes stays where the library puts it,
so a tensor that it forgets on the CPU fails here as it would on a GPU. Random numbers of a CPU generator are drawn on the CPU and
moved: a seed gives the same numbers everywhere.

`elsewhere` is a device of its own, for the machine without a GPU: numbers on the CPU behind torch's checks of devices.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

DEVICE = os.environ.get("ENTROSTAT_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE == "elsewhere":
    import elsewhere  # makes the device known to torch

TESTS, LIBRARY = (str(Path(__file__).parents[up] / name) + os.sep for up, name in ((0, ""), (1, "src")))
MAKE = {
    getattr(torch, name)
    for name in (
        "arange", "as_tensor", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randint", "randn", "randperm",
        "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
    )
}  # fmt: skip
BRING = ("from_numpy", "load")  # of which torch tells no mode
BY_VALUE = {torch.as_tensor, torch.tensor}
DRAW = {torch.multinomial, torch.bernoulli, torch.normal, torch.Tensor.multinomial, torch.Tensor.bernoulli}
READ = {torch.Tensor.numpy, torch.Tensor.__array__}
INDEX = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}


@cache
def _owner(file: str) -> str | None:
    """Whose code this is: of the tests, of the library, or of nobody that we ask."""
    if file in (__file__, TESTS + "elsewhere.py"):
        return None
    return "tests" if file.startswith(TESTS) else "library" if file.startswith(LIBRARY) else None


def from_tests() -> bool:
    """Whether torch was called by a test, and not by the library on its behalf."""
    frame = sys._getframe(2)
    while frame is not None:
        if (owner := _owner(frame.f_code.co_filename)) is not None:
            return owner == "tests"
        frame = frame.f_back  # type: ignore[assignment]
    return False


class OnDevice(TorchFunctionMode):
    """Tensors that the tests make are on `DEVICE`; what they read as NumPy is fetched."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in READ and args[0].device.type != "cpu" and from_tests():
            return function(args[0].detach().cpu(), *args[1:], **kwargs)
        generator = kwargs.get("generator")
        if function in DRAW and generator is not None and generator.device.type == "cpu":
            moved = [each.cpu() if isinstance(each, torch.Tensor) else each for each in args]
            return function(*moved, **kwargs).to(args[0].device)
        if DEVICE == "elsewhere":
            # Here torch itself does not ask a device of Python's for memory, or for numbers.
            if function in INDEX and (index := _as_tensor(args[1])) is not args[1]:
                return function(args[0], index, *args[2:])
            if function in BY_VALUE:
                args = (_numbers(args[0]), *args[1:])
                if (place := kwargs.get("device")) is not None:
                    return _moved(function(*args, **kwargs | {"device": None}), place)
        if function not in MAKE or kwargs.get("device") is not None or not from_tests():
            return function(*args, **kwargs)
        if function in BY_VALUE or generator is not None:
            return _moved(function(*args, **kwargs), DEVICE)
        return function(*args, **kwargs | {"device": DEVICE})


@contextmanager
def placed() -> Iterator[None]:
    """What is made in here is on `DEVICE`. It holds for one thread."""
    with ExitStack() as stack:
        if DEVICE == "elsewhere":
            stack.enter_context(elsewhere.Makes())
        if DEVICE != "cpu":
            stack.enter_context(OnDevice())
            for name in BRING:
                stack.enter_context(patch.object(torch, name, _brought(getattr(torch, name))))
        yield


def _brought(function: Callable[..., Any]) -> Callable[..., Any]:
    def brought(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        return tree_map_only(torch.Tensor, lambda each: _moved(each, DEVICE), found) if from_tests() else found

    return brought


def _as_tensor(index: Any) -> Any:
    """An index that is a list, or has one in it, as a tensor of the CPU."""
    if isinstance(index, tuple):
        found = tuple(map(_as_tensor, index))
        return index if all(new is old for new, old in zip(found, index, strict=True)) else found
    if isinstance(index, list):
        kind = None if index else torch.long  # of an empty one torch makes floats
        return torch.tensor(index, device="cpu", dtype=kind)
    return index


def _numbers(values: Any) -> Any:
    """A list in which tensors are numbers; anything else as it is."""
    if not isinstance(values, list | tuple):
        return values
    return [each.tolist() if isinstance(each, torch.Tensor) else _numbers(each) for each in values]


def _moved(found: Any, place: str | torch.device) -> Any:
    if not isinstance(found, torch.Tensor):
        return found
    return found.detach().to(place).requires_grad_(found.requires_grad)
