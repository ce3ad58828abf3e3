"""What tensors are checked for where they come in: that they are tensors, on one device, and that a mask is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from entrostat.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def check_tensors(**values: Any) -> None:
    """Refuse what is no tensor: a list, an array, a model's output, a module, None."""
    from torch import Tensor

    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise DataError(
                f"{name} must be a tensor, got an object of the class {type(value).__name__}: pass {_instead(name, value)}"
            )


def _instead(name: str, value: Any) -> str:
    for inside in ("logits", "weight", "last_hidden_state"):
        if hasattr(value, inside):
            return f"its .{inside}"
    return f"torch.as_tensor({name})" if hasattr(value, "__len__") else "a tensor"


def check_one_device(**values: Tensor | None) -> None:
    """Refuse tensors on several devices, by name."""
    devices = {name: str(value.device) for name, value in values.items() if value is not None}
    if len(set(devices.values())) > 1:
        told = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise DataError(
            f"the tensors are on several devices: {told}. Move them to one, as {next(iter(devices))}.to(...)"
        )


def check_mask(name: str, mask: Tensor) -> None:
    """Refuse a mask of other numbers than 0 and 1: labels with -100 in them, weights, NaN all count as tokens otherwise."""
    import torch

    if mask.dtype == torch.bool or not mask.numel() or mask.is_meta or torch.compiler.is_compiling():
        return
    good = (mask == 0) | (mask == 1)
    refuse_unless(
        good.all(),
        f"{name} must be 1 (or True) for completion tokens and 0 for the others",
        lambda: (
            f", got {mask[~good][0].item():g} in it. Labels with -100 become a mask by labels != -100, weights by > 0"
        ),
    )


def refuse_unless(good: Tensor, message: str, found: Callable[[], str]) -> None:
    """`DataError` unless `good`, a 0-dimensional boolean, is true; `found` completes the message.

    On CUDA the device checks, without making the host wait: it fails with `message` at the next synchronization, and as
    after any failed assertion on it nothing more runs there.
    """
    import torch

    if good.is_cuda:
        torch._assert_async(good, message)
    elif not bool(good):
        raise DataError(message + found())
