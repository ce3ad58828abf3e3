"""A device named "elsewhere": numbers on the CPU, behind the rules of an accelerator.

Tensors there do not mix with those of the CPU, except numbers without a dimension, and are not read by NumPy: what would fail on
a GPU for being in the wrong place fails here, on any machine.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "elsewhere"


class Module(_DummyBackendModule):
    """What torch asks of a device for autocast."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend(NAME, Module())
PLACE = torch.device(NAME, 0)
MOVES = {"_to_copy", "copy_", "_copy_from", "_copy_from_and_resize"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}  # by numbers of the CPU too, as on a GPU


class Elsewhere(torch.Tensor):
    """A tensor of this device around one of the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=PLACE, requires_grad=False,
        )  # fmt: skip
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{self.inner!r} {NAME}"

    def numpy(self, **_: Any) -> Any:
        from device import from_tests

        if from_tests():
            return self.inner.detach().numpy()
        raise TypeError(f"can't convert {NAME} device type tensor to numpy. Use Tensor.cpu() first.")

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    here = [each for each in tensors if isinstance(each, Elsewhere)]
    name = function.overloadpacket.__name__
    wanted = kwargs.get("device")
    if here and name not in MOVES:
        asked = tensors if name not in INDEXED or not isinstance(args[0], Elsewhere) else [args[0], *args[2:3]]
        strange = [each for each in asked if not isinstance(each, Elsewhere) and each.dim()]
        if strange:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu, in {function}"
            )
    there = bool(here) if wanted is None else torch.device(wanted).type == NAME
    if name == "copy_":
        there = isinstance(args[0], Elsewhere)
    inner_args, inner_kwargs = tree_map_only(Elsewhere, lambda each: each.inner, (args, kwargs))
    if wanted is not None and there:
        inner_kwargs["device"] = torch.device("cpu")
    inner_kwargs.pop("pin_memory", None)
    found = function(*inner_args, **inner_kwargs)
    if not there:
        return found
    found = tree_map_only(torch.Tensor, lambda each: each if isinstance(each, Elsewhere) else Elsewhere(each), found)
    return return_and_correct_aliasing(function, args, kwargs, found)


class Makes(TorchDispatchMode):
    """What is asked for on this device, or brought there from the CPU."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})
