"""How long statistics from hidden states take, and how much memory, beside full logits, the matrix product, and TRL's head.

    python benchmarks/speed/token_statistics.py [--quick] [--threads 1 2] [--repeats 9] [--only step] [--out FILE]

To be run with the machine to itself. Cases, each with its sides run in turn in one process:

* `forward`: all statistics, no gradient. Sides: `ours`; `product`, the matrix product alone over the same tiles;
  `full`, log_softmax on full logits and the statistics from it; `log_softmax`, that alone.
* `step`: forward and backward of a policy-gradient loss with an entropy term. Sides: `ours`; `recomputed`, ours with no logits
  kept for the backward; `products`, the three products that no implementation gets around, over the same tiles; `full`; `trl`
  (TRL's fused head, where it is installed).
* `tokens`, `vocabulary`: ours alone, at growing sizes.

`seconds` is the median wall time over turns, `ratio` that of the side over ours. `extra_mb` is the peak of resident memory above
what the inputs take, in a process of its own; in `step` it holds the gradients (`gradient_mb`), which every side must return.
`token_statistics_table.py` makes the tables of docs/statistics.md from the results.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from entrostat.stats import reference_stats, token_stats_from_hidden
from entrostat.types import STATISTICS

TILE = (1024, 2048)


def cases(quick: bool) -> list[dict[str, Any]]:
    """Each case: its name, its sizes, its sides."""
    if quick:
        sizes = {"tokens": 256, "width": 32, "vocabulary": 49_152}
        return [
            {"case": "forward", "sides": ["ours", "full"], **sizes},
            {"case": "vocabulary", "sides": ["ours"], **sizes, "vocabulary": 196_608},
        ]
    sizes = {"tokens": 1024, "width": 576, "vocabulary": 49_152}
    heads = ["ours", "recomputed", "products", "full"] + (["trl"] if installed("trl") else [])
    return [
        {"case": "forward", "sides": ["ours", "product", "full", "log_softmax"], **sizes},
        {"case": "step", "sides": heads, **sizes},
        *(
            {"case": "tokens", "sides": ["ours"], **sizes, "vocabulary": 32_000, "tokens": n}
            for n in (512, 1024, 2048, 4096)
        ),
        *(
            {"case": "vocabulary", "sides": ["ours"], **sizes, "tokens": 512, "vocabulary": v}
            for v in (32_000, 64_000, 128_000, 256_000)
        ),
    ]


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def prepare(case: dict[str, Any], side: str) -> Callable[[], object]:
    """The inputs of a case, and what a side does with them."""
    generator = torch.Generator().manual_seed(0)
    tokens, width, vocabulary = case["tokens"], case["width"], case["vocabulary"]
    hidden = torch.randn(tokens, width, generator=generator)
    weight = torch.randn(vocabulary, width, generator=generator).mul_(0.05)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    advantages = torch.randn(tokens, generator=generator)
    if case["case"] == "step":
        hidden.requires_grad_(), weight.requires_grad_()

        def gradients(logp: Tensor, entropy: Tensor) -> object:
            return torch.autograd.grad(-(advantages * logp).mean() - 0.01 * entropy.mean(), (hidden, weight))

        if side == "products":
            return torch.no_grad()(_products(hidden, weight))
        steps: dict[str, Callable[..., Any]] = {
            "ours": _our_step,
            "recomputed": _recomputed_step,
            "full": _full_step,
            "trl": _trl_step,
        }
        return steps[side](hidden, weight, targets, gradients)

    def product() -> None:
        tile = torch.empty(min(TILE[0], tokens) * TILE[1])
        for rows in hidden.split(TILE[0]):
            for part in weight.split(TILE[1]):
                torch.mm(rows, part.t(), out=tile[: len(rows) * len(part)].view(len(rows), len(part)))

    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: token_stats_from_hidden(hidden, weight, targets, STATISTICS),
        "full": lambda: reference_stats(hidden @ weight.t(), targets),
        "log_softmax": lambda: torch.log_softmax(hidden @ weight.t(), -1),
        "product": product,
    }
    return torch.no_grad()(sides[side])


Gradients = Callable[[Tensor, Tensor], object]


def _our_step(
    hidden: Tensor, weight: Tensor, targets: Tensor, gradients: Gradients, **options: Any
) -> Callable[[], object]:
    def step() -> object:
        stats = token_stats_from_hidden(hidden, weight, targets, **options)
        return gradients(stats.need("logp"), stats.need("entropy"))

    return step


def _recomputed_step(*inputs: Any) -> Callable[[], object]:
    return _our_step(*inputs, kept_mb=0)


def _products(hidden: Tensor, weight: Tensor) -> Callable[[], object]:
    """Forward, gradient of the hidden states, gradient of the weight: one product each."""

    def products() -> object:
        grad_hidden, grad_weight = torch.zeros_like(hidden), torch.empty_like(weight)
        tile = torch.empty(TILE[0] * TILE[1])
        for rows, total in zip(hidden.split(TILE[0]), grad_hidden.split(TILE[0]), strict=True):
            for part, out in zip(weight.split(TILE[1]), grad_weight.split(TILE[1]), strict=True):
                logits = torch.mm(rows, part.t(), out=tile[: len(rows) * len(part)].view(len(rows), len(part)))
                torch.addmm(total, logits, part, out=total)
                torch.mm(logits.t(), rows, out=out)
        return grad_hidden, grad_weight

    return products


def _full_step(hidden: Tensor, weight: Tensor, targets: Tensor, gradients: Gradients) -> Callable[[], object]:
    def step() -> object:
        logp = torch.log_softmax(hidden @ weight.t(), -1)
        return gradients(logp.gather(1, targets.unsqueeze(1)).squeeze(1), -(logp.exp() * logp).sum(-1))

    return step


def _trl_step(hidden: Tensor, weight: Tensor, targets: Tensor, gradients: Gradients) -> Callable[[], object]:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as CHUNK

    def step() -> object:
        logp, entropy, *_ = ChunkedLogProbFunction.apply(
            hidden, weight, None, targets, 1.0, CHUNK, None, 1.0, ("entropy",)
        )
        return gradients(logp, entropy)

    return step


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one turn."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(case: dict[str, Any], threads: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each side of a case."""
    torch.set_num_threads(threads)
    works = {side: prepare(case, side) for side in case["sides"]}
    for work in works.values():
        work()
    turns: dict[str, list[float]] = {side: [] for side in works}
    for _ in range(repeats):
        for side, work in works.items():
            turns[side].append(timed(work))
    rows = []
    ours = statistics.median(turns["ours"])
    for side, times in turns.items():
        row = {name: value for name, value in case.items() if name != "sides"} | {"side": side, "threads": threads}
        seconds = statistics.median(times)
        row |= {"seconds": round(seconds, 4), "least": round(min(times), 4), "ratio": round(seconds / ours, 3)}
        rows.append(row | {"extra_mb": extra_memory(case, side, threads)} | gradient_memory(case))
    return rows


def gradient_memory(case: dict[str, Any]) -> dict[str, float]:
    if case["case"] != "step":
        return {}
    return {"gradient_mb": round(4e-6 * case["width"] * (case["tokens"] + case["vocabulary"]), 1)}


def extra_memory(case: dict[str, Any], side: str, threads: int) -> float | None:
    """Peak of resident memory above the inputs', in MB, measured in a process of its own; None off Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    # The server imports torch once, and each process is a clean copy of it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "entrostat.stats"])
    with context.Pool(1) as pool:
        return pool.apply(peak_of, (case | {"side": side}, threads))


def peak_of(case: dict[str, Any], threads: int) -> float:
    """What `extra_memory` runs in its process."""
    torch.set_num_threads(threads)
    # Once on a smaller case, for what is set up and mapped on first use; what it freed goes back to the system.
    prepare(case | {"tokens": min(case["tokens"], 128), "vocabulary": 2 * TILE[1]}, case["side"])()
    ctypes.CDLL(None).malloc_trim(0)
    work = prepare(case, case["side"])
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    work()
    return round((_status("VmHWM") - before) / 1e3, 1)


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1.024 * float(next(line for line in lines if line.startswith(field)).split()[1])


def machine() -> dict[str, Any]:
    """Where it was measured, and with what."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    packages = {name: installed(name) for name in ("torch", "trl", "entrostat")}
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "load": load, "python": platform.python_version(), **packages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one turn: for tests")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", nargs="+", help="names of cases; all by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("token_statistics.json"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        for case in cases(options.quick):
            if options.only and case["case"] not in options.only:
                continue
            for row in measure(case, threads, 1 if options.quick else options.repeats):
                rows.append(row)
                print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)
            options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
