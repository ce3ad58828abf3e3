"""Compile the Triton kernels for a card that is not here: `python benchmarks/gpu/kernels.py [--capability 90]`.

Triton brings its own assembler, so this needs no GPU and no driver. What is compiled is what the library launches, recorded while
it computes on the CPU: the dtypes and the constants of a launch are those that a card would see. Prints registers, bytes of
stack (what did not fit into registers) and of shared memory for every tile that part 2 sweeps; ends with 1 where one failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

H100 = 90  # and H200: compute capability 9.0
KINDS = {
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int64: "i64",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
TILES, WARPS = (2048, 4096, 8192, 16_384), (4, 8, 16)  # columns of a tile and warps: what part 2 sweeps
TAILS = (1, 7, 384)  # what is left of a vocabulary after its last whole tile


@dataclass(frozen=True)
class Launch:
    """One way in which a kernel is started.

    Args:
        signature: each argument's type. constants: what is compiled in. aligned: arguments that are multiples of 16, or
            point to one.
        options: warps and the like.
    """

    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        flags = [name.lower() for name, value in self.constants if value is True]
        return " ".join([self.kernel.strip("_"), *flags])


class Recorder:
    """Stands in for a kernel: takes down how it is launched, as Triton itself would tell launches apart."""

    def __init__(self, name: str, kernel: Any, found: dict[Launch, None]) -> None:
        self.name, self.kernel, self.found = name, kernel, found

    def __getitem__(self, grid: Any) -> Any:
        return self.launch

    def launch(self, *args: Any, **kwargs: Any) -> None:
        names = self.kernel.arg_names
        given = dict(zip(names, args, strict=False)) | {name: kwargs[name] for name in names if name in kwargs}
        fixed = {each.name for each in self.kernel.params if each.is_constexpr}
        fixed |= {name for name, value in given.items() if type(value) is int and value == 1}
        self.found[
            Launch(
                self.name,
                tuple((name, "constexpr" if name in fixed else _type(given[name])) for name in names),
                tuple((name, given[name]) for name in names if name in fixed),
                tuple(name for name in names if name not in fixed and _aligned(given[name])),
                tuple(sorted((name, value) for name, value in kwargs.items() if name not in names)),
            )
        ] = None


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "*" + KINDS[value.dtype]
    return "fp32" if isinstance(value, float) else "i32"


def _aligned(value: Any) -> bool:
    number = value.data_ptr() if isinstance(value, torch.Tensor) else value
    return isinstance(number, int) and number % 16 == 0


@contextmanager
def with_warps(warps: int) -> Iterator[None]:
    """While inside, the kernels run with so many warps; afterwards they have their own number again."""
    from entrostat.stats import triton_kernel

    own = triton_kernel._block
    triton_kernel._block = lambda columns: own(columns) | {"num_warps": warps}
    try:
        yield
    finally:
        triton_kernel._block = own


def launches(columns: int, warps: int | None = None) -> list[Launch]:
    """Every launch for tiles of so many columns: each set of statistics and of gradients, with softcap and without."""
    from entrostat.stats import token_stats_from_hidden, triton_kernel, triton_ops
    from entrostat.types import STATISTICS

    found: dict[Launch, None] = {}
    with ExitStack() as stack:
        stack.enter_context(patch.object(triton_ops, "cannot_run", lambda hidden: ""))
        for name in ("_fold", "_gradient"):
            recorder = Recorder(name, getattr(triton_kernel, name), found)
            stack.enter_context(patch.object(triton_kernel, name, recorder))
        if warps is not None:
            stack.enter_context(with_warps(warps))
        for softcap, want in (
            (cap, want) for cap in (None, 30.0) for want in (("logp",), ("logp", "entropy"), STATISTICS)
        ):
            hidden = torch.zeros(16, 1, dtype=torch.bfloat16, requires_grad=True)
            stats = token_stats_from_hidden(
                hidden, torch.zeros(columns, 1, dtype=torch.bfloat16), torch.zeros(16, dtype=torch.long), want,
                softcap=softcap, tile_tokens=16, tile_vocabulary=columns, implementation="triton", kept_mb=0,
            )  # fmt: skip
            for name in ("logp", "entropy"):
                if name in want:
                    stats.need(name).sum().backward(retain_graph=True)
    return list(found)


def compiled(launch: Launch, capability: int = H100) -> Any:
    """The kernel for a card of this compute capability (90: 9.0); Triton's own error where it cannot be."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from entrostat.stats import triton_kernel

    places = {name: (number,) for number, (name, _) in enumerate(launch.signature)}
    source = ASTSource(
        fn=getattr(triton_kernel, launch.kernel),
        signature=dict(launch.signature),
        constexprs={places[name]: value for name, value in launch.constants},
        attrs={places[name]: [["tt.divisibility", 16]] for name in launch.aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(launch.options))


def resources(kernel: Any) -> dict[str, int]:
    """Registers of a thread, and bytes of stack and shared memory; empty where Triton came without `cuobjdump`."""
    import triton.backends.nvidia as backend

    program = Path(str(backend.__file__)).parent / "bin" / "cuobjdump"
    if not program.exists():
        return {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        said = subprocess.run([program, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    found = re.findall(r"\b(REG|STACK|SHARED):(\d+)", said.stdout)
    return {{"REG": "registers", "STACK": "stack", "SHARED": "shared"}[name]: int(value) for name, value in found}


def every() -> Iterator[tuple[int, Launch]]:
    """What the library and part 2 launch: (columns, launch)."""
    for columns in TAILS:
        yield from ((columns, launch) for launch in launches(columns))
    for columns in TILES:
        for warps in WARPS:
            yield from ((columns, launch) for launch in launches(columns, warps))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, default=H100, help="the card's compute capability: 90 for 9.0")
    options = parser.parse_args()
    failures = 0
    print("columns  warps  registers  stack  shared  kernel")
    for columns, launch in every():
        warps = dict(launch.options)["num_warps"]
        try:
            used = resources(compiled(launch, options.capability))
        except Exception as error:
            failures += 1
            print(f"{columns:7}  {warps:5}  {launch.name}: {type(error).__name__}: {error}")
            continue
        told = "  ".join(f"{used.get(name, '?'):>{len(name)}}" for name in ("registers", "stack", "shared"))
        print(f"{columns:7}  {warps:5}  {told}  {launch.name}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
