"""The pictures of the pages that commands draw, and what these commands print: `python docs/images/make.py [NAME.png ...]`.

A page shows a command, what it prints, and the picture below it; the command is run again, and both are put in its place. `tune`
reads a simulated run of `flow`. The demonstration's picture leads the README (three minutes). `patterns.py` draws the targets,
`benchmarks/quality/long/report.py` the long run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGES, ROOT = HERE.parent, HERE.parents[1]
RUNS = ROOT / "build" / "examples"
LEADING = "entropy.png"
FLOW = [
    "plant=tabular",
    "plant.states=16",
    "plant.updates=4",
    "method={name: flow, target: 1.5, kp: 3, ki: 0.05}",
    "steps=200",
]
SHOWN = re.compile(r"```\n\$ entrostat ([^\n]*)\n(.*?)```\n\n!\[[^\]]*\]\(images/([\w-]+\.png)\)", re.S)


def entrostat(words: list[str]) -> str:
    """What a command prints, run beside the examples' runs."""
    environment = os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "entrostat", *words]
    return subprocess.run(command, cwd=RUNS, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def drawn(shown: re.Match[str], wanted: list[str]) -> str:
    """The page's piece anew: the same command, what it prints now, its picture."""
    line, _, name = shown.groups()
    if wanted and name not in wanted:
        return shown[0]
    words, picture = shlex.split(line), str(HERE / name)
    if words[0] == "tune":
        shutil.rmtree(RUNS / words[1], ignore_errors=True)
        entrostat(["simulate", *FLOW, "--out", words[1]])
        words[words.index("--map") + 1] = picture
    else:
        words += ["--out", picture]
    mine = (str(HERE), "steps per second", "columns:")  # of this machine, or no part of the table
    kept = [row.rstrip() for row in entrostat(words).splitlines() if not any(word in row for word in mine)]
    print(name, flush=True)
    return shown[0].replace(shown[2], "\n" + re.sub(r"\n{3,}", "\n\n", "\n".join(kept).strip("\n")) + "\n")


def main(wanted: list[str]) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text()
        if (anew := SHOWN.sub(lambda shown: drawn(shown, wanted), text)) != text:
            page.write_text(anew)
    if not wanted or LEADING in wanted:
        entrostat(["demo", "--target", "0.2", "--out", "demo"])
        (HERE / LEADING).write_bytes((RUNS / "demo" / LEADING).read_bytes())
        print(LEADING)


if __name__ == "__main__":
    main(sys.argv[1:])
