"""What scoring in processes of their own costs, per batch of 256 answers: `python benchmarks/speed/scoring.py`.

The same answers are scored in this process and by the pool, in turn; a batch of the worst answers shows the bound on its time.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from entrostat.run.environment import environment
from entrostat.tasks import load_task, score_all
from entrostat.tasks.jsonl import mathematics
from entrostat.tasks.reasoning_gym import scorer

HERE, ANSWERS = Path(__file__).parent, 256
WORST = "$9^{9^{9^{9}}}$"


def seconds(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def compare(
    task: Any, problems: list[Any], texts: list[str], here: Callable[[], Any], repeats: int = 7
) -> dict[str, float]:
    score_all(task, problems, texts)  # starts the workers
    rows = [(seconds(here), seconds(lambda: score_all(task, problems, texts))) for _ in range(repeats)]
    inside, pool = (median(row[i] for row in rows) for i in (0, 1))
    return {
        "in_process_ms": round(1e3 * inside, 2),
        "pool_ms": round(1e3 * pool, 2),
        "pool_over_in_process": round(pool / inside, 2),
    }


def main() -> None:
    gym: Any = load_task("rg:chain_sum")
    problems = gym.problems("train", ANSWERS, 0)
    texts = [problem.answer for problem in problems]
    own, entries = scorer("chain_sum", {}), [gym._entry(problem) for problem in problems]
    rows = {
        "reasoning-gym, chain_sum": compare(
            gym, problems, texts, lambda: [own(*each) for each in zip(entries, texts, strict=True)]
        )
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.jsonl"
        file.write_text(
            "".join(json.dumps({"prompt": f"{i}/7?", "answer": f"{i}/7"}) + "\n" for i in range(2 * ANSWERS))
        )
        task = load_task(str(file))
        problems = task.problems("train", ANSWERS, 0)
        texts = [f"The answer is ${problem.answer.replace('/', ' / ')}$" for problem in problems]
        score = mathematics()
        rows["math-verify"] = compare(
            task, problems, texts, lambda: [score(p.answer, text) for p, text in zip(problems, texts, strict=True)], 3
        )
        worst = seconds(lambda: score_all(task, problems, [WORST] * ANSWERS))
        mixed = seconds(lambda: score_all(task, problems, [WORST] * 4 + texts[4:]))
    rows["math-verify, all of the worst"] = {"pool_seconds": round(worst, 1)}
    rows["math-verify, 4 of the worst"] = {"pool_seconds": round(mixed, 1)}
    record = {"environment": environment(), "answers": ANSWERS, "rows": rows}
    (HERE / "scoring.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
