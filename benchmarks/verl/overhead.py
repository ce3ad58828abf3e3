"""What entropy control costs in verl's driver: seconds and memory at 1,024 x 8,192 tokens, on synthetic statistics.

    python benchmarks/verl/overhead.py            writes benchmarks/verl/overhead.json

Needs no verl. Each case runs in a process of its own, so that its peak memory is its own. Beside it stands what verl's
driver itself does with one field of that size (from nested to padded and back), to judge it by.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROWS, TOKENS = 1024, 8192
CASES = [
    (method, rows) for method in ("observe", "flow", "clip_b", "entropic") for rows in (ROWS // 4, ROWS // 2, ROWS)
]
OUT = Path(__file__).with_name("overhead.json")


def one(name: str, rows: int) -> dict[str, float | int | str]:
    import torch

    import entrostat as es
    from entrostat.adapters.loop import EntropyControl
    from entrostat.adapters.verl.batch import control_batch
    from entrostat.types import TokenBatch, TokenStats

    torch.manual_seed(0)
    lengths = torch.randint(TOKENS // 4, TOKENS + 1, (rows, 1))
    mask = (torch.arange(TOKENS) < lengths).long()
    logp = -torch.rand(rows, TOKENS).square_()
    stats = TokenStats(logp=logp, entropy=-0.9 * logp, baseline=0.01 * logp)
    advantages = torch.randn(rows, 1).expand(rows, TOKENS).contiguous()
    batch = TokenBatch(stats, advantages, mask)
    control = EntropyControl(es.make(name, **({} if name in ("observe", "clip_b") else {"target": 0.3})))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    control_batch(control, batch, "token-mean", (0.2, 0.2))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

    rows_of = [row[:length] for row, length in zip(logp, lengths.flatten().tolist(), strict=True)]
    started = time.perf_counter()
    nested = torch.nested.as_nested_tensor(rows_of, layout=torch.jagged)
    padded = nested.to_padded_tensor(0.0)
    [row[:length] for row, length in zip(padded, lengths.flatten().tolist(), strict=True)]
    own = time.perf_counter() - started
    return {
        "method": name,
        "rows": rows,
        "tokens": int(mask.sum()),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "extra_bytes_per_position": round(peak / mask.numel(), 1),
        "one_field_nested_and_back_seconds": round(own, 3),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
        return
    results = []
    for name, rows in CASES:
        command = [sys.executable, __file__, name, str(rows)]
        done = subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True, check=True
        )
        results.append(json.loads(done.stdout))
        print(results[-1], flush=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
