"""The example reports of the docs, each from a run of its own: `python docs/examples/make.py [tiny] [smollm2]`.

A run goes into `build/examples/<name>` and is taken from there when it is finished; the page is written beside this file.
The tiny policy takes two minutes on one core, SmolLM2 about ten (and 93 MB to download, once).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from entrostat.report.content import content_of
from entrostat.report.page import page_of

ROOT = Path(__file__).parents[2]
RUNS, PAGES = (
    Path("build/examples"),
    Path("docs/examples"),
)  # from ROOT, which is where this works: pages name no machine
LARGEST = 2_000_000
EXAMPLES = {
    "tiny": [
        "examples/countdown.yaml",
        "steps=150",
        "eval={every: 25, problems: 60}",
        "tokens.completions=12",
        "trainer.save_steps=1000",
    ],
    "smollm2": [
        "examples/smollm2.yaml",
        "steps=16",
        "threads=1",
        "train_problems=4",
        "task.max_completion_tokens=12",  # three are enough to learn from, and too few to look at
        "eval={every: 0, problems: 8, samples: 4, ks: [1, 4], batch_size: 32}",
        "tokens={every: 5, completions: 16}",
        "trainer.per_device_train_batch_size=16",
        "trainer.save_steps=1000",
    ],
}


def make(name: str) -> Path:
    """The report of one example, its run trained first where there is none."""
    run = RUNS / name
    if not (run / "summary.json").exists():
        begun = (run / "config.yaml").exists()
        words = ["--resume", str(run)] if begun else [*EXAMPLES[name], "--out", str(run)]
        subprocess.run([sys.executable, "-m", "entrostat", "train", *words], check=True)
    page = PAGES / f"{name}.html"
    page.write_text(page_of(content_of([run])), encoding="utf-8")
    size = page.stat().st_size
    if size > LARGEST:
        sys.exit(f"{page} has {size:,} bytes, more than the {LARGEST:,} that a page of the docs may have")
    print(f"{page}: {size / 1e6:.2f} MB")
    return page


if __name__ == "__main__":
    os.chdir(ROOT)
    for name in sys.argv[1:] or EXAMPLES:
        make(name)
