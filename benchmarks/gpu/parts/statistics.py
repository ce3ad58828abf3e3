"""Part 2: all statistics from hidden states beside full logits, TRL's fused head, Liger and cut-cross-entropy.

`forward` has no gradient, `step` is forward and backward of a policy-gradient loss, with an entropy term where the side has
entropies. Sides that give log-probabilities alone (`liger`, `cce`, and `trl-logp`) are what "no more than 1.05 times the plain
fused log-prob" is about. Sides of one case run in turn; `seconds` is the median, `extra_mb` the peak beyond the inputs.
A side that the card has no room for says `fits: false`.
`share_of_peak` is that of the two (step: six) N d V products that nobody gets around, at the card's dense bf16 rate.
`tiles` sweeps our tiles and the kernels' warps: what the defaults should be on this card.
"""

from __future__ import annotations

import gc
import itertools
import json
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache
from statistics import median
from typing import Any

import torch
from kernels import TILES, WARPS, with_warps
from record import Results
from torch import Tensor

from entrostat.stats import reference_stats, token_stats_from_hidden
from entrostat.types import STATISTICS

PEAK = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
}  # FLOP/s, from the vendor's data sheets
OURS = ("triton", "torch")
SIDES = (*OURS, "full", "triton-compiled", "torch-compiled", "full-compiled", "trl", "trl-logp", "liger", "cce")
NEED_CUDA = ("triton", "triton-compiled", "liger", "cce")
TELLING = (
    3  # of the sizes: before the sweep of the tiles. These alone are compiled, for which the compiler takes its time
)


def sizes(rehearse: bool) -> list[tuple[int, int, int]]:
    """(N, d, V), the most telling first: what a time limit cuts off are the corners."""
    if rehearse:
        return [(64, 32, 1000)]
    first = [(8192, 1024, 151_936), (8192, 4096, 151_936), (32_768, 2048, 151_936), (65_536, 4096, 262_144)]
    every = itertools.product((8192, 16_384, 65_536), (1024, 2048, 4096), (49_152, 151_936, 262_144))
    return first + [size for size in every if size not in first]


def inputs(tokens: int, width: int, vocabulary: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    new = dict(generator=generator, device=device)
    hidden = torch.randn(tokens, width, **new).bfloat16()  # type: ignore[call-overload]
    weight = torch.randn(vocabulary, width, **new).mul_(2 / width**0.5).bfloat16()  # type: ignore[call-overload]
    targets = torch.randint(0, vocabulary, (tokens,), **new)  # type: ignore[call-overload]
    return hidden, weight, targets, torch.randn(tokens, **new)  # type: ignore[call-overload]


def full_logits(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logp = torch.log_softmax((hidden @ weight.t()).float(), -1)
    return logp.gather(1, targets.unsqueeze(1)).squeeze(1), -(logp.exp() * logp).sum(-1)


def side(name: str, device: str) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]:
    """(hidden, weight, targets) to log-probabilities and entropies; None where the side has none."""
    if name.endswith("-compiled"):
        # Without a GPU the compiled sides are rehearsed as far as they go without a C++ compiler.
        backend = "inductor" if device == "cuda" else "aot_eager"
        return torch.compile(side(name.removesuffix("-compiled"), device), backend=backend)
    if name in OURS:

        def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            want = ("logp", "entropy") if hidden.requires_grad else STATISTICS
            stats = token_stats_from_hidden(hidden, weight, targets, want, implementation=name)  # type: ignore[arg-type]
            return stats.need("logp"), stats.need("entropy")

        return ours
    if name == "full":
        return full_logits
    if name.startswith("trl"):
        from trl.kernels.chunked_logprob import ChunkedLogProbFunction
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as CHUNK

        more = ("entropy",) if name == "trl" else ()

        def trl(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
            logp, entropy, *_ = ChunkedLogProbFunction.apply(hidden, weight, None, targets, 1.0, CHUNK, None, 1.0, more)
            return logp, entropy if more else None

        return trl
    if name == "liger":
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        # The sum over tokens: this kernel makes its gradient in the forward, for that sum alone.
        return lambda hidden, weight, targets: (
            -liger_fused_linear_cross_entropy(hidden, weight, targets, reduction="sum"),
            None,
        )
    from cut_cross_entropy import linear_cross_entropy

    return lambda hidden, weight, targets: (-linear_cross_entropy(hidden, weight, targets, reduction="none"), None)


def runner(kind: str, name: str, given: tuple[Tensor, ...], device: str) -> Callable[[], None]:
    hidden, weight, targets, advantages = given
    of = side(name, device)
    if kind == "forward":

        @torch.no_grad()
        def forward() -> None:
            of(hidden, weight, targets)

        return forward

    def step() -> None:
        logp, entropy = of(hidden, weight, targets)
        loss = -(advantages * logp).mean() - (0 if entropy is None else 0.01 * entropy.mean())
        torch.autograd.grad(loss, (hidden, weight))

    return step


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def compare(
    kind: str,
    size: tuple[int, int, int],
    device: str,
    repeats: int,
    results: Results,
    sides: tuple[str, ...],
) -> None:
    """Every side of a case: its memory alone, then its times in turn with the others.

    A side that the card has no room for has rows that say so, and is not tried again.
    """

    def key_of(name: str, of: str) -> dict[str, Any]:
        return {"case": kind, "size": size, "side": name, "of": of}

    def there(name: str, of: str) -> bool:
        return json.dumps(key_of(name, of)) in results.done

    if all(there(name, of) for name in sides for of in ("memory", "seconds")):
        return
    # What is compiled is compiled anew: of a second size torch would make a form for any size, and after eight none at all.
    torch._dynamo.reset()
    works: dict[str, Callable[[], None]] = {}

    @cache
    def given() -> tuple[Tensor, ...]:
        made = inputs(*size, device)  # of all sides: the largest weight is 2 GB
        for each in made[:2]:
            each.requires_grad_(kind == "step")
        return made

    for name in sides:
        if device == "cpu" and name in NEED_CUDA:
            results.measure(key_of(name, "memory"), lambda: {"skipped": "needs CUDA"})
            continue

        def ready(name: str = name) -> dict[str, Any]:
            work = runner(kind, name, given(), device)
            memory = None
            try:
                work()  # compiles
                if device == "cuda":
                    torch.cuda.synchronize()
                    torch.cuda.reset_peak_memory_stats()
                    before = torch.cuda.memory_allocated()
                    work()
                    torch.cuda.synchronize()
                    memory = round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
            except torch.OutOfMemoryError as error:
                return too_large(error)
            works[name] = work
            return {"extra_mb": memory, "ready": True}

        measured_before = there(name, "memory")
        if results.measure(key_of(name, "memory"), ready) and name not in works and not there(name, "seconds"):
            if measured_before:  # its memory is known from an earlier call; its time is not
                with suppress(Exception):
                    works[name] = runner(kind, name, given(), device)
            else:
                results.add(key_of(name, "seconds"), {"fits": False})
    turns: dict[str, list[float]] = {name: [] for name in works if not there(name, "seconds")}
    for turn in range(repeats + 1):
        if turn > repeats // 2 and not results.left():
            break
        for name in list(turns):
            began = clock(device)
            try:
                works[name]()
                ended = clock(device)
            except Exception as error:
                # The error itself would keep what was computed so far.
                row = too_large(error) if isinstance(error, torch.OutOfMemoryError) else None
                said = f"{type(error).__name__}: {error}"
                del works[name], turns[name]
                if row is None:
                    results.measure(key_of(name, "seconds"), lambda said=said: failed(said))
                else:
                    results.add(key_of(name, "seconds"), row)
                continue
            if turn:  # the first warms up
                turns[name].append(ended - began)
    tokens, width, vocabulary = size
    products = 2 * tokens * width * vocabulary * (1 if kind == "forward" else 3)
    card = torch.cuda.get_device_name() if device == "cuda" else ""
    peak = next((rate for name, rate in PEAK.items() if name in card), None)
    for name, seconds in turns.items():
        if seconds:
            row = {"seconds": median(seconds), "least": min(seconds), "turns": len(seconds)}
            row["share_of_peak"] = round(products / median(seconds) / peak, 4) if peak else None
            results.add(key_of(name, "seconds"), row)  # also where the part's time is over by now


def too_large(error: BaseException) -> dict[str, Any]:
    """The row of what the card has no room for; and room again for what comes next."""
    said = str(error).splitlines()[0][:300]
    error.__traceback__ = None  # its frames hold what was computed so far
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return {"fits": False, "said": said}


def failed(said: str) -> dict[str, Any]:
    raise RuntimeError(said)


def sweep(device: str, rehearse: bool, results: Results) -> None:
    """Our tiles, and with Triton the kernels' warps."""
    size = sizes(rehearse)[0]
    tiles = [(32, 256), (64, 512)] if rehearse else itertools.product((2048, 4096, 8192), TILES)
    for (tokens, vocabulary), warps in itertools.product(tiles, WARPS if device == "cuda" else (0,)):

        def work(tokens: int = tokens, vocabulary: int = vocabulary, warps: int = warps) -> dict[str, Any]:
            hidden, weight, targets, advantages = inputs(*size, device)
            hidden.requires_grad_(), weight.requires_grad_()
            seconds = []
            with with_warps(warps) if warps else nullcontext():
                for turn in range(2 if rehearse else 6):
                    began = clock(device)
                    stats = token_stats_from_hidden(
                        hidden, weight, targets, tile_tokens=tokens, tile_vocabulary=vocabulary
                    )
                    loss = (advantages * stats.need("logp")).mean() + stats.need("entropy").mean()
                    torch.autograd.grad(loss, (hidden, weight))
                    if turn:
                        seconds.append(clock(device) - began)
            return {"seconds": median(seconds), "size": size}

        results.measure({"case": "tiles", "tile": [tokens, vocabulary], "warps": warps}, work)


def exact(device: str, rehearse: bool, results: Results) -> None:
    """The largest error of our statistics against fp64 on the device, beside that of full bf16 logits."""

    def work() -> dict[str, Any]:
        size = (256, 64, 5000) if rehearse else (2048, 2048, 151_936)
        hidden, weight, targets, _ = inputs(*size, device)
        truth = reference_stats(hidden.double() @ weight.double().t(), targets)
        ours = token_stats_from_hidden(hidden, weight, targets, STATISTICS)
        full = reference_stats((hidden @ weight.t()).float(), targets)
        return {
            name: {side: float((each.need(name) - truth.need(name)).abs().max()) for side, each in pair.items()}
            for name in STATISTICS
            for pair in [{"ours": ours, "full": full}]
        }

    results.measure({"case": "error"}, work)


def main(device: str, results: Results, rehearse: bool) -> None:
    exact(device, rehearse, results)
    plain = tuple(name for name in SIDES if not name.endswith("-compiled"))
    compiled = tuple(name for name in SIDES if name.endswith("-compiled"))
    repeats = 2 if rehearse else 7

    def both(size: tuple[int, int, int], sides: tuple[str, ...]) -> None:
        for kind in ("forward", "step"):
            if not results.left():
                results.left_out += 1
                return
            compare(kind, size, device, repeats, results, sides)

    every = sizes(rehearse)
    for size in every[:TELLING]:
        both(size, plain)
    sweep(device, rehearse, results)
    for size in every[TELLING : TELLING + 1]:  # the largest
        both(size, plain)
    for size in every[:TELLING]:
        both(size, compiled)
    for size in every[TELLING + 1 :]:
        both(size, plain)
