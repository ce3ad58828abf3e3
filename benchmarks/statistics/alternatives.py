"""Other ways to do a pass over a block of logits, beside those chosen: `python benchmarks/statistics/alternatives.py`.

Times are for 50 million logits: the least of some turns, in milliseconds. Passes are in blocks of 64 tokens times 2,048 entries
that stay in cache; the whole forward is 1,024 tokens of width 576 times 49,152 entries, by tile. What was not taken is there so
that nobody tries it again. The fused kernel needs a C++ compiler where it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from entrostat.stats import token_stats_from_hidden
from entrostat.stats.online import OnlineSoftmax
from entrostat.types import STATISTICS

ROWS, WIDTH, LOGITS = 64, 2048, 1024 * 49_152


def least(work: Callable[[], object], calls: int, turns: int = 5) -> float:
    work()
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        for _ in range(calls):
            work()
        times.append(time.perf_counter() - began)
    return round(1e3 * min(times), 1)


def passes() -> dict[str, float]:
    """Sums of products, of squares, and a line a y + b with a and b per token."""
    generator = torch.Generator().manual_seed(0)
    x, e = torch.randn(ROWS, WIDTH, generator=generator), torch.rand(ROWS, WIDTH, generator=generator)
    out, total, one, zero = (
        torch.empty_like(x),
        torch.empty(ROWS, 1),
        torch.ones(ROWS, 1),
        torch.zeros(ROWS, 1),
    )
    works: dict[str, Callable[[], object]] = {
        "sum e*x: product, then sum": lambda: torch.sum(torch.mul(x, e, out=out), 1, True, out=total),
        "sum e*x: batched dot": lambda: torch.bmm(e.unsqueeze(1), x.unsqueeze(2)),
        "sum e^2: product, then sum": lambda: torch.sum(torch.mul(e, e, out=out), 1, True, out=total),
        "sum e^2: norm": lambda: torch.linalg.vector_norm(e, 2, 1, True, out=total),
        "a y + b: in two passes": lambda: x.mul_(one).add_(zero),
        "a y + b: addcmul": lambda: torch.addcmul(zero, x, one, out=out),
    }
    return {name: least(work, LOGITS // x.numel()) for name, work in works.items()}


def fused(logits: Tensor) -> tuple[Tensor, ...]:
    """The sums of `OnlineSoftmax` as torch.compile would fuse them."""
    shift = logits.amax(1, True)
    x = logits - shift
    e = x.exp()
    ex = e * x
    return shift, e.sum(1), ex.sum(1), (e * e).sum(1), (e * ex).sum(1)


def folds() -> dict[str, float]:
    """A whole tile folded: by ours, and by one compiled kernel."""
    tile = torch.randn(1024, WIDTH, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(1024, dtype=torch.long)
    softmax = OnlineSoftmax(1024, frozenset(STATISTICS), torch.float32, tile.device)
    compiled, calls = torch.compile(fused), LOGITS // tile.numel()
    return {
        "fold: ours": least(lambda: softmax.fold(tile, targets, 0, finite=True), calls),
        "fold: compiled": least(lambda: compiled(tile), calls),
    }


def forwards() -> dict[str, dict[str, float]]:
    """The whole forward by the size of a tile: the product alone, ours, and the product with a compiled fold and nothing else.

    The last is what no implementation with this fold can get below: it keeps no sums and looks for no targets.
    """
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(1024, 576, generator=generator), torch.randn(49_152, 576, generator=generator) * 0.05
    targets = torch.randint(0, 49_152, (1024,), generator=generator)
    compiled = torch.compile(fused, dynamic=True)

    def over(tokens: int, width: int, fold: Callable[[Tensor], object] | None) -> Callable[[], None]:
        tile = torch.empty(tokens, width)

        def run() -> None:
            for rows in hidden.split(tokens):
                for part in weight.split(width):
                    torch.mm(rows, part.t(), out=tile)
                    if fold:
                        fold(tile)

        return run

    found = {}
    for tokens, width in ((1024, 2048), (1024, 1024), (1024, 512), (512, 2048), (512, 1024), (512, 512)):
        tiles = {"tile_tokens": tokens, "tile_vocabulary": width}
        sides: dict[str, Callable[[], object]] = {
            "product": over(tokens, width, None),
            "product and compiled fold": over(tokens, width, compiled),
            "ours": lambda tiles=tiles: token_stats_from_hidden(hidden, weight, targets, STATISTICS, **tiles),
        }
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(6):
            for side, work in sides.items():
                times[side].append(least(work, 1, 1))
        found[f"{tokens} x {width}"] = {side: min(values) for side, values in times.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    results = {"threads": threads, "torch": torch.__version__, "milliseconds": passes() | folds()}
    with torch.no_grad():
        results["forward, milliseconds"] = forwards()
    text = json.dumps(results, indent=1)
    Path(__file__).with_name("alternatives.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
