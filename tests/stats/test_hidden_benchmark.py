"""The benchmark of the statistics runs, and its memory bounds hold. Times are not looked at: a test machine is busy."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux only")
def test_quick_benchmark(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    script = ROOT / "benchmarks" / "speed" / "token_statistics.py"
    subprocess.run([sys.executable, script, "--quick", "--threads", "1", "--out", out], check=True, capture_output=True)
    results = json.loads(out.read_text())
    assert {"cpu", "cores", "torch", "entrostat"} <= results["machine"].keys()
    memory = {(row["case"], row["side"]): row["extra_mb"] for row in results["rows"]}
    # 256 x 49,152 logits in fp32 take 50 MB, and every statistic from them another copy or two.
    assert memory["forward", "full"] > 100
    # Resident memory comes in pages of up to 2 MB, whose number is the system's affair: bounds of half the logits.
    assert memory["forward", "ours"] < 25
    # Four times the vocabulary (logits of 201 MB), the same memory.
    assert memory["vocabulary", "ours"] < memory["forward", "ours"] + 25


def test_the_page_shows_the_committed_results() -> None:
    folder = ROOT / "benchmarks" / "speed"
    table = runpy.run_path(str(folder / "token_statistics_table.py"))
    page = (ROOT / "docs" / "statistics.md").read_text()
    for shown in table["tables"](json.loads((folder / "token_statistics.json").read_text())):
        assert shown in page
