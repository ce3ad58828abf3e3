"""Where torch, TRL or what plots is not installed, a command works without it, or says in one sentence what to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# Modules that cannot be found, as in an environment without them; each command's exit code, in one process.
SCRIPT = """
import json, sys
absent, commands = json.loads(sys.argv[1]), json.loads(sys.argv[2])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from entrostat.cli.main import main
for command in commands:
    try:
        main(command)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    print(f"\\n@{code}", flush=True)
    print("@", file=sys.stderr, flush=True)
"""
HOST = ["trl", "transformers", "accelerate", "datasets"]
TRAIN = ["matplotlib", "scipy", "gguf", "math_verify", "reasoning_gym"]


def run(absent: list[str], commands: list[list[str]], place: Path) -> tuple[list[int], list[str], str]:
    """Each command's exit code and what it said, and all that was printed."""
    words = [sys.executable, "-c", SCRIPT, json.dumps(absent), json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, cwd=place)
    codes = [int(line[1:]) for line in done.stdout.splitlines() if line.startswith("@")]
    said = done.stderr.split("@\n")[:-1]
    assert len(codes) == len(said) == len(commands), done.stderr
    return codes, said, done.stdout


def test_simulate_and_tune_need_matplotlib_for_a_picture_alone(tmp_path: Path) -> None:
    simulate = ["simulate", "method.target=0.22", "steps=20", "--out"]
    commands = [[*simulate, "sim"], [*simulate, "a.png"], ["tune", "--probe", "--map", "map.png", "--out", "probe"]]
    codes, said, printed = run(["matplotlib"], commands, tmp_path)
    assert codes == [0, 1, 1], said
    assert "target" in printed and "no figure: matplotlib is not installed: pip install 'entrostat[train]'" in printed
    assert (
        said[1] == said[2] == "error: this needs matplotlib, which is not installed: pip install 'entrostat[train]'\n"
    )
    written = {path.name for path in (tmp_path / "sim").iterdir()}
    assert written == {"simulation.json", "config.yaml", "metrics.jsonl"} and not (tmp_path / "probe").exists()


def test_a_command_works_or_says_what_to_install(tmp_path: Path) -> None:
    absent, works = ["torch", *HOST, *TRAIN], ["--help", "diagnose"]
    log = tmp_path / "metrics.jsonl"
    rows = ({"step": i, "entropy": 0.5 - 0.004 * i, "reward": 0.3} for i in range(60))
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    commands = [
        ["--help"], ["diagnose", str(log)], ["methods"], ["simulate", "steps=20"], ["train", "steps=1", "--dry-run"],
        ["report", str(tmp_path)], ["tune", str(log)],
    ]  # fmt: skip
    codes, said, _ = run(absent, commands, tmp_path)
    for command, code, error in zip(commands, codes, said, strict=True):
        assert "Traceback" not in error and "should not happen" not in error, (command, error)
        assert code == 0 if command[0] in works else code in (0, 1, 2), (command, code, error)
    trained = said[[command[0] for command in commands].index("train")]
    assert "not installed: pip install" in trained and len(trained.strip().splitlines()) == 1, trained
