"""Break it on purpose: configurations, logs, state files, tensors, plants and kills, from recorded seeds.

    make fuzz                                   # the whole campaign; writes tests/fuzz/results.json
    python tests/fuzz/campaign.py states 200    # one kind

Each try ends in one of three ways: refused with a sentence (one of the library's errors), survived (a right result), or other,
which is a fault: any other exception, a result that is not finite or not right.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

HERE = Path(__file__).parent
FULL = {"configurations": 1000, "logs": 1000, "states": 1000, "tensors": 3000, "plants": 500, "kills": 20}
SEED = 20261127
WILD: list[Any] = [
    0, -1, 1, 2, 3, 1e-9, 0.5, 1.5, -0.5, 1e9, 2**31, 2**32, 10**30, True, False, None, math.inf, -math.inf, math.nan,
    "", " ", "x", "initial", "0.5 * initial", "none", "false", "yes", "12:30:45", "\x1b[31mred", "[bold]b[/]",
    "../../etc/passwd", "a" * 5000, "${oc.env:HOME}", [], [0], [1, "x"], {}, {"a": 1}, {"linear": {}},
    {"linear": {"start": 1, "end": 0, "steps": 10}}, {"pi": {"target": 0.2, "kp": 1, "ki": 0.1}},
]  # fmt: skip


class Outcome(Counter[str]):
    """How often each thing happened; `faults` says what and with which seed."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def fault(self, what: str) -> None:
        self["other"] += 1
        self.faults.append(what)


def attempt(found: Outcome, name: str, act: Callable[[], str | None]) -> None:
    """Count one try; `act` returns what is wrong with its result, or None."""
    from entrostat.errors import EntrostatError

    found["tried"] += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrong = act()
    except EntrostatError as error:
        text = str(error)
        if not text.strip() or len(text) > 12_000:
            found.fault(f"{name}: a message of {len(text)} characters")
        else:
            found["refused"] += 1
    except Exception as error:
        found.fault(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    else:
        if wrong:
            found.fault(f"{name}: {wrong}")
        else:
            found["survived"] += 1


# -- configurations -----------------------------------------------------------------------------------------------------

TRAINER = [
    "learning_rate", "temperature", "num_generations", "loss_type", "min_p", "top_p", "top_k", "report_to", "beta",
    "epsilon", "epsilon_high", "use_vllm", "max_grad_norm", "per_device_train_batch_size", "gradient_accumulation_steps",
    "steps_per_generation", "num_iterations", "max_completion_length", "save_steps", "save_total_limit", "save_strategy",
    "save_only_model", "optim", "lr_scheduler_type", "warmup_steps", "weight_decay", "adam_beta1", "scale_rewards",
    "mask_truncated_completions", "bf16", "fp16", "entropy_coef", "use_liger_kernel", "repetition_penalty",
    "generation_batch_size", "seed", "max_steps", "nonsense", "importance_sampling_level",
]  # fmt: skip
KEYS = [
    "model", "task", "task.name", "task.numbers", "task.low", "task.high", "task.max_target", "task.eval_share", "method",
    "method.name", "method.target", "method.settling", "method.limits", "method.kp", "method.ki", "method.controller",
    "method.coef", "method.mu", "algorithm", "steps", "seed", "train_problems", "threads", "eval", "eval.every",
    "eval.samples", "eval.ks", "eval.temperatures", "predict.every", "predict.nodes", "tokens.every", "trainer",
    "nonsense", "method.nonsense", "eval.nonsense", *(f"trainer.{name}" for name in TRAINER),
]  # fmt: skip


GOOD: dict[str, list[Any]] = {
    "model": ["tiny", "tiny-hard"], "task": ["countdown"], "task.numbers": [2, 3], "task.max_target": [9, 99],
    "method": ["observe", "flow", "hold"], "method.target": [0.2, "initial", "0.5 * initial"], "method.settling": [10, 40],
    "algorithm": ["grpo", "rloo"], "steps": [1, 100], "seed": [0, 7], "train_problems": [5, None], "threads": [1, None],
    "eval.every": [0, 5], "eval.samples": [8, 16], "eval.ks": [[1], [1, 8]], "trainer.learning_rate": [1e-4, 0.0],
    "trainer.temperature": [0.7, 1.0], "trainer.num_generations": [8, 16], "trainer.loss_type": ["grpo", "dapo"],
    "trainer.beta": [0.0], "trainer.save_steps": [1, 10], "trainer.max_grad_norm": [0.5], "trainer.num_iterations": [2],
    "trainer.report_to": ["none"],
}  # fmt: skip


def configurations(count: int, seed: int = SEED) -> Outcome:
    """Random keys with wild values, as a file or as overrides, checked as `--dry-run` checks them."""
    from entrostat.core.yaml_file import dump
    from entrostat.methods import names
    from entrostat.run.config import load_config
    from entrostat.run.resolve import resolve

    found = Outcome()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "run.yaml"
        for index in range(count):
            rng = random.Random(seed * 10_007 + index)
            words = []
            for _ in range(rng.choice((1, 1, 2, 3))):
                key = rng.choice(KEYS)
                if key in GOOD and rng.random() < 0.5:
                    value = rng.choice(GOOD[key])
                else:
                    value = rng.choice(names()) if key.startswith("method") and rng.random() < 0.2 else rng.choice(WILD)
                words.append(f"{key}={_flow(value)}")
            bad_file = rng.random() < 0.25

            def act(words: list[str] = words, rng: random.Random = rng, bad_file: bool = bad_file) -> None:
                path = None
                if bad_file:
                    text = dump(
                        {"steps": 3, "method": {"name": "flow", "target": 0.3}, "trainer": {"learning_rate": 1e-4}}
                    )
                    data = bytearray(text.encode())
                    for _ in range(rng.randint(1, 6)):
                        data[rng.randrange(len(data))] = rng.randrange(256)
                    file.write_bytes(bytes(data))
                    path = file
                config = resolve(load_config(path, words))
                load_config(None, [])
                file.write_text(config.to_yaml())
                if load_config(file) != config and "nan" not in config.to_yaml():
                    raise AssertionError("the resolved configuration does not read back as itself")

            attempt(found, f"configuration {index} {words}", act)
    return found


def _flow(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value) if any(c < " " for c in value) else value
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    return json.dumps(value)


# -- logs ---------------------------------------------------------------------------------------------------------------


def logs(count: int, seed: int = SEED) -> Outcome:
    """Logs of several hosts with damaged bytes, rows and values, read as `diagnose` and `tune` read them."""
    from entrostat.logs.read import read
    from entrostat.logs.stretch import read_log

    found = Outcome()
    with tempfile.TemporaryDirectory() as place:
        for index in range(count):
            rng = random.Random(seed * 20_011 + index)
            path = (
                Path(place)
                / f"log{index}{rng.choice(('.jsonl', '.csv', '.json', '.log', '.txt', '.jsonl.gz', '.zip'))}"
            )
            path.write_bytes(_log(rng, path.suffix))

            def act(path: Path = path, rng: random.Random = rng) -> None:
                if rng.random() < 0.5:
                    read(path)
                else:
                    read_log(path)

            attempt(found, f"log {index}", act)
            path.unlink()
    return found


def _log(rng: random.Random, ending: str) -> bytes:
    rows: list[dict[str, Any]] = []
    for step in range(rng.choice((0, 1, 3, 20))):
        row: dict[str, Any] = {
            "step": step,
            "entropy_control/measured": rng.random(),
            "entropy_control/output": rng.gauss(0, 1),
            "reward": rng.random(),
        }
        if rng.random() < 0.2:
            row[rng.choice(list(row))] = rng.choice(WILD)
        if rng.random() < 0.05:
            row.pop(rng.choice(list(row)))
        rows.append(row)
    if ending == ".csv":
        heading = "step,entropy_control/measured,entropy_control/output,reward"
        text = "\n".join([heading, *(",".join(str(value) for value in row.values()) for row in rows)])
    elif ending == ".json":
        text = json.dumps({"log_history": rows} if rng.random() < 0.5 else rows)
    elif ending in (".log", ".txt"):
        text = "\n".join(" - ".join(f"{key}:{value}" for key, value in row.items()) for row in rows)
    else:
        text = "\n".join(json.dumps(row) for row in rows)
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((0, 0, 1, 5, 40))):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data)


# -- state files --------------------------------------------------------------------------------------------------------


def states(count: int, seed: int = SEED) -> Outcome:
    """A controller's state with values, types and bytes changed: refused, or it then takes steps with finite outputs."""
    import torch

    from entrostat import methods
    from entrostat.core.control import EntropyControl
    from entrostat.core.state_file import FILE_NAME, load_state, save_state
    from entrostat.stats import token_stats
    from entrostat.types import Surrogate, TokenBatch

    torch.manual_seed(seed)
    targets, advantages = torch.randint(0, 9, (4, 6)), torch.tensor([[1.0], [-1.0], [0.5], [-0.5]]).expand(4, 6)
    stats = token_stats(torch.randn(4, 6, 9), targets, ("logp", "entropy", "baseline", "collision"))
    batch = TokenBatch(stats, advantages, torch.ones(4, 6, dtype=torch.bool))
    surrogate = Surrogate("ppo", advantages)
    kinds = [methods.factory(name)(0.3) for name in ("flow", "hold", "entropic")]
    found = Outcome()
    with tempfile.TemporaryDirectory() as place:
        for index in range(count):
            rng = random.Random(seed * 30_011 + index)
            method = rng.choice(kinds)
            state = method.init()
            path = save_state(place, method, state, 5)
            record = json.loads(path.read_text())
            for _ in range(rng.randint(1, 3)):
                _change(record["state"] if rng.random() < 0.8 and "state" in record else record, rng)
            data = bytearray(json.dumps(record).encode())
            if rng.random() < 0.3:
                data[rng.randrange(len(data))] = rng.randrange(256)
            (Path(place) / FILE_NAME).write_bytes(bytes(data))

            def act(method: Any = method) -> str | None:
                loaded, steps = load_state(place, method)
                control = EntropyControl(method)
                control.state, metrics = loaded, {}
                for _ in range(3):
                    control.apply(surrogate, batch)
                    metrics = control.step()
                strange = [name for name, value in metrics.items() if not math.isfinite(value)]
                return f"metrics that are not finite: {strange}, after {steps} steps" if strange else None

            attempt(found, f"state {index} of {method.name}", act)
    return found


def _change(values: Any, rng: random.Random) -> None:
    """Change something somewhere in nested values."""
    while isinstance(values, dict | list):
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(values[key], dict | list) and values[key] and rng.random() < 0.9:
            values = values[key]
            continue
        choice = rng.random()
        if choice < 0.2 and isinstance(values, dict):
            del values[key]
        elif choice < 0.3 and isinstance(values, dict):
            values["nonsense"] = 1
        else:
            values[key] = rng.choice(
                [0, -1, -1e-3, 1e308, -1e308, 2**70, True, None, "x", [], {}, 0.5, math.nan, math.inf]
            )
        return


# -- tensors ------------------------------------------------------------------------------------------------------------


def tensors(count: int, seed: int = SEED) -> Outcome:
    """Odd shapes, dtypes, offsets, -inf and ids: refused, or equal to float64 within the dtype's own error."""
    import torch

    from entrostat.stats import token_stats

    found = Outcome()
    for index in range(count):
        rng = random.Random(seed * 40_009 + index)
        torch.manual_seed(rng.randrange(2**31))
        shape = rng.choice([(1, 1), (2, 3), (0, 3), (3, 0), (1, 7), (4, 5)])
        vocabulary = rng.choice([1, 2, 7, 33, 1000])
        dtype = rng.choice([torch.float32, torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64])
        logits = torch.randn(*shape, vocabulary, dtype=torch.float64) * rng.choice([0, 1e-3, 1, 10, 100]) + rng.choice(
            [0, 1e3, -1e4, 1e5]
        )
        if rng.random() < 0.3 and vocabulary > 1:
            logits[..., rng.randrange(vocabulary)] = -math.inf
        logits = logits.to(dtype) if dtype.is_floating_point else logits.nan_to_num(0, 0, 0).to(dtype)
        ids = rng.choice([torch.int64, torch.int64, torch.int32, torch.uint8, torch.int16, torch.float32, torch.bool])
        targets = torch.randint(0, vocabulary, shape).to(ids)
        if rng.random() < 0.1:
            targets = targets + rng.choice([vocabulary, -1, -100]) if ids not in (torch.bool, torch.uint8) else targets
        if rng.random() < 0.1:
            targets = targets[..., :-1] if shape[-1] else targets
        temperature = rng.choice([1.0] * 8 + [0.5, 2.0, 0.0, math.nan])
        want = rng.choice(
            [("logp", "entropy"), ("entropy",), ("baseline", "entropy"), ("collision",), ("nonsense",), ()]
        )

        def act(
            logits: Any = logits, targets: Any = targets, want: Any = want, temperature: float = temperature
        ) -> str | None:
            leaf = logits.clone().requires_grad_() if logits.dtype.is_floating_point else logits
            stats = token_stats(leaf, targets, want, temperature)
            if "entropy" not in want or not logits.dtype.is_floating_point:
                return None
            entropy = stats.need("entropy")
            logp = torch.log_softmax(logits.double() / temperature, -1)
            exact = -(logp.exp() * logp.masked_fill(logp == -math.inf, 0)).sum(-1)
            alive = exact.isfinite()
            error = (entropy.double() - exact)[alive].abs().max().item() if alive.any() else 0.0
            if entropy.requires_grad and entropy.numel():
                entropy[alive].sum().backward()
                if not leaf.grad[alive].isfinite().all():
                    return "a gradient that is not finite"
            # fp32 arithmetic; below it, the rounding of the logits is part of the input.
            return f"entropy off by {error:.2g}" if error > 1e-3 else None

        attempt(found, f"tensor {index}", act)
    return found


# -- plants -------------------------------------------------------------------------------------------------------------


def plants(count: int, seed: int = SEED) -> Outcome:
    """Random plants, among them impossible ones, under the default controller: finite, within limits, and said."""
    from entrostat.lab.simulate import load_simulation, simulate

    found = Outcome()
    settled = 0
    for index in range(count):
        rng = random.Random(seed * 50_021 + index)
        gain = 10 ** rng.uniform(-4, -1) * (1 if rng.random() < 0.95 else -1)
        start = rng.uniform(0.05, 2)
        plant = {
            "gain": gain,
            "drift": rng.gauss(0, 0.3) * abs(gain),
            "start": start,
            "momentum": rng.choice([0.0, 0.5, 0.86, 0.9, 0.98]),
            "noise": rng.choice([0, 0.001, 0.01, 0.1]) * start,
            "wander": rng.choice([0, 0.001]),
            "delay": rng.choice([1, 1, 1, 2, 5]),
        }
        words = [
            f"plant={{name: linear, {', '.join(f'{key}: {value}' for key, value in plant.items())}}}",
            f"method.target={start * rng.uniform(0.3, 1.5)}",
            f"method.settling={rng.choice([5, 30, 100])}",
            "steps=150",
            f"seed={rng.randrange(1000)}",
        ]

        def act(words: list[str] = words) -> str | None:
            nonlocal settled
            run = simulate(load_simulation(None, words))
            low, high = run.limits
            if not all(map(math.isfinite, run.trace.output)):
                return "an output that is not finite"
            if any(not low - 1e-9 <= each <= high + 1e-9 for each in run.trace.output):
                return "an output beyond its limits"
            settled += run.numbers is not None and run.numbers.settling is not None
            return None

        attempt(found, f"plant {index} {words[0]}", act)
    found["settled"] = settled
    return found


# -- kills --------------------------------------------------------------------------------------------------------------


def kills(count: int, seed: int = SEED) -> Outcome:
    """A run killed (SIGKILL) at random times until it ends, and resumed each time: equal to an unbroken one in every metric."""
    settings = [
        "steps=8", "threads=1", "method={name: flow, target: 0.3}", "trainer.per_device_train_batch_size=16",
        "trainer.num_generations=8", "trainer.learning_rate=1e-3", "trainer.save_steps=1", "eval.problems=0",
    ]  # fmt: skip
    found = Outcome()
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        _train([*settings, "--out", str(whole)]).wait()
        expected, killed, index = _metrics(whole), 0, 0
        while killed < count:
            rng = random.Random(seed * 60_013 + index)
            folder, index = Path(place) / f"run{index}", index + 1

            def act(folder: Path = folder, rng: random.Random = rng) -> str | None:
                nonlocal killed
                for turn in range(6):
                    started = (folder / "config.yaml").exists()
                    process = _train(["--resume", str(folder)] if started else [*settings, "--out", str(folder)])
                    before = len(_metrics(folder))
                    if killed < count and turn < 5:
                        if not _until(process, folder, before + rng.randint(1, 3)):
                            break
                        time.sleep(rng.random() * 0.3)
                        process.send_signal(signal.SIGKILL)
                        killed += 1
                    elif process.wait() != 0:
                        return f"the resumed run ended with {process.returncode}: {_said(process)}"
                    process.wait()
                    if turn == 5 or (folder / "summary.json").exists():
                        break
                if not (folder / "summary.json").exists() and (last := _train(["--resume", str(folder)])).wait() != 0:
                    return f"the resumed run ended with {last.returncode}: {_said(last)}"
                return None if _metrics(folder) == expected else "it differs from the unbroken run"

            attempt(found, f"run {index - 1}, killed", act)
        found["runs"], found["kills"] = found["tried"], killed
    return found


def _train(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "entrostat", "train", *words, "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()[-300:]


def _until(process: subprocess.Popen[str], folder: Path, lines: int) -> bool:
    """Wait until the metrics hold so many lines; False where the run ended before."""
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if len(_metrics(folder)) >= lines:
            return True
        time.sleep(0.02)
    return process.poll() is None


def _metrics(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text().rpartition("\n")[0].splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("step_time", "elapsed")} for line in lines]


KINDS: dict[str, Callable[[int], Outcome]] = {
    "configurations": configurations, "logs": logs, "states": states, "tensors": tensors, "plants": plants, "kills": kills,
}  # fmt: skip


def main(words: list[str]) -> None:
    from entrostat.run.environment import environment

    wanted = {words[0]: int(words[1]) if len(words) > 1 else FULL[words[0]]} if words else FULL
    path = HERE / "results.json"
    for name, count in wanted.items():
        began = time.monotonic()
        found = KINDS[name](count)
        seconds = round(time.monotonic() - began)
        counts = {"tried": 0, "refused": 0, "survived": 0, "other": 0} | dict(found)
        print(name, counts, f"{seconds} s", *found.faults[:12], sep="\n  ", flush=True)
        record = json.loads(path.read_text()) if path.exists() else {"kinds": {}}
        record["kinds"][name] = counts | {"seed": SEED, "faults": found.faults[:50]}
        record["environment"] = environment()
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
