"""Every format as its framework writes it: small files of the same form, each read into the same columns."""

from __future__ import annotations

import gzip
import json
import sqlite3
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from entrostat.errors import DataError
from entrostat.logs import Run, read

N = 12
ENTROPY = [round(0.5 - 0.01 * i, 4) for i in range(N)]
REWARD = [round(0.1 + 0.02 * i, 4) for i in range(N)]


def one(path: Path, text: str | bytes, **options: object) -> Run:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (run,) = read(path, **options)  # type: ignore[arg-type]
    return run


def holds(run: Run, host: str, entropy: str, first: int = 1, reward: str | None = None) -> None:
    assert run.host == host and run.columns["entropy"].key == entropy
    assert run.steps.tolist() == list(range(first, first + N))
    np.testing.assert_allclose(run["entropy"], ENTROPY, rtol=1e-6)
    if reward is not None:
        assert run.columns["reward"].key == reward
        np.testing.assert_allclose(run["reward"], REWARD, rtol=1e-6)


def lines(template: str, first: int = 1) -> str:
    return "\n".join(
        template.replace("STEP", str(i + first)).replace("ENTROPY", str(ENTROPY[i])).replace("REWARD", str(REWARD[i]))
        for i in range(N)
    )


CONSOLES = {
    "verl": (
        "\x1b[36m(TaskRunner pid=7)\x1b[0m step:STEP - actor/entropy:ENTROPY - actor/lr(1e-4):0.010 - "
        "critic/rewards/mean:np.float64(REWARD) - response_length/mean:17.0",
        ("verl", "actor/entropy", 1, "critic/rewards/mean"),
    ),
    "trl": (
        "  5%|▌  | STEP/200 [00:19<159:06:22, 19.23s/it]\n{'loss': '0.1', 'grad_norm': nan, 'entropy': 'ENTROPY', "
        "'reward': np.float64(REWARD), 'completions/mean_length': 53.3, 'frac_reward_zero_std': 0.0, 'epoch': 0.0}",
        ("trl", "entropy", 1, "reward"),
    ),
    "ms-swift": (
        "{'loss': 0.1, 'entropy/mean': ENTROPY, 'reward': REWARD, 'global_step/max_steps': 'STEP/100'}",
        ("ms-swift", "entropy/mean", 1, "reward"),
    ),
    "slime": (
        "[2025-11-02 10:00:00] model.py:1 - step STEP: {'train/loss': 0.0, 'train/entropy_loss': ENTROPY, 'train/ppo_kl': 0.01, "
        "'train/grad_norm': 0.3}",
        ("slime", "train/entropy_loss", 1, None),
    ),
    "prime-rl": (
        "10:00:00 SUCCESS Step STEP | Time: 9.1s | Loss: 0.0012 | Entropy: ENTROPY | Mismatch KL: 0.0008 | Grad. Norm: 0.11 | "
        "LR: 1e-06 | Throughput: 9,000 tokens/s",
        ("prime-rl", "Entropy", 1, None),
    ),
    "tables": (
        "        Step STEP        \n┏━━━┓\n┃ \x1b[1mMetric\x1b[0m ┃ Value ┃\n│\x1b[36m optim/entropy \x1b[0m│ ENTROPY │\n"
        "│ env/all/reward/total │ REWARD │\n└───┘",
        ("tinker", "optim/entropy", 1, "env/all/reward/total"),
    ),
    "areal": (
        "Epoch 1/2 Step STEP/100 done.\n│ ppo_actor/update/entropy/avg │ ENTROPY │ ppo_actor/task_reward/avg │ REWARD │",
        ("areal", "ppo_actor/update/entropy/avg", 1, "ppo_actor/task_reward/avg"),
    ),
    "skyrl": (
        "INFO {'policy/policy_entropy': ENTROPY, 'reward/avg_raw_reward': REWARD, 'trainer/global_step': STEP}",
        ("skyrl", "policy/policy_entropy", 1, "reward/avg_raw_reward"),
    ),
    "nemo-rl": (
        "========== Step STEP/100 ==========\n  • Loss: 0.0123\n  • approx_entropy: ENTROPY\n  • Avg Reward: REWARD",
        ("nemo-rl", "approx_entropy", 1, "Avg Reward"),
    ),
    "a logger": (
        "2025-09-23 08:59:11,896 - train - INFO - rollout batch STEP generated, length: 256\n2025-09-23 - INFO - rl_loss: 0.1, "
        "l2_norm: 0.14, token_entropy: ENTROPY, reward_data: {'total_num': 1, 'total_reward': REWARD}, x: "
        "tensor(0.2, device='cuda:0')",
        ("unknown", "token_entropy", 1, "total_reward / total_num"),
    ),
}


@pytest.mark.parametrize("name", CONSOLES)
def test_consoles(name: str, tmp_path: Path) -> None:
    template, expected = CONSOLES[name]
    run = one(tmp_path / "out.log", "starting, step 0\nnoise: here\n" + lines(template) + "\n")
    holds(run, *expected)
    if name == "verl":
        assert run["learning_rate"][0] == pytest.approx(1e-6) and run.noted("escapes")
    if name == "trl":
        assert run.noted("steps-implied") and run.noted("numbers-as-text") and run.noted("not-finite-core")


JSON_LINES = {
    "verl's file logger": (
        '{"step": STEP, "data": {"actor/entropy": ENTROPY, "critic/score/mean": REWARD}}',
        "verl",
        "actor/entropy",
    ),
    "tinker": ('{"step": STEP, "optim/entropy": ENTROPY, "env/all/reward/total": REWARD}', "tinker", "optim/entropy"),
    "open-instruct": (
        '{"training_step": STEP, "policy/entropy_avg": ENTROPY, "scores": REWARD}',
        "trl",
        "policy/entropy_avg",
    ),
    "openrlhf": (
        '{"global_step": STEP, "policy_loss": 0.1, "entropy_loss": ENTROPY, "reward": REWARD}',
        "openrlhf",
        "entropy_loss",
    ),
    "text": ('{"step": "STEP", "entropy": "ENTROPY", "reward": "REWARD"}', "unknown", "entropy"),
}


@pytest.mark.parametrize("name", JSON_LINES)
def test_json_lines(name: str, tmp_path: Path) -> None:
    template, host, key = JSON_LINES[name]
    run = one(tmp_path / "a.jsonl", lines(template))
    holds(run, host, key)
    np.testing.assert_allclose(run["reward"], REWARD)
    kinds = {"tinker": "sampled"}
    assert run.columns["entropy"].kind == kinds.get(name, "exact")
    assert bool(run.noted("numbers-as-text")) == (name == "text")


def rows() -> list[dict]:
    return [{"step": i + 1, "entropy": ENTROPY[i], "reward": REWARD[i]} for i in range(N)]


def test_trl_s_state_its_folder_and_a_list(tmp_path: Path) -> None:
    state = {
        "global_step": 120,
        "logging_steps": 10,
        "log_history": [r | {"step": 10 * r["step"], "clip_ratio": 0} for r in rows()],
    }
    state["log_history"].append({"step": 120, "train_runtime": 3.0, "train_loss": 0.0})
    for place in ("checkpoint-20", "checkpoint-120"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "trainer_state.json").write_text(json.dumps(state, indent=2))
        state["log_history"][0]["reward"] = 0.5
    (run,) = read(tmp_path)
    assert run.form == "TRL's trainer_state.json" and run.host == "trl" and run["reward"][0] == 0.5
    assert run.steps.tolist() == [10 * i for i in range(1, N + 1)] and run.noted("logged-every").steps == (10.0,)  # type: ignore[union-attr]
    holds(one(tmp_path / "log.json", json.dumps(rows(), indent=1)), "unknown", "entropy")
    cut = tmp_path / "trainer_state.json"
    cut.write_text(json.dumps(state, indent=2)[:300])
    with pytest.raises(DataError, match="cut or damaged"):
        read(cut)


@pytest.mark.parametrize(
    "document",
    [
        {"step": 9, "metrics_history": rows(), "entropy_history": [{"mean": 1.0}] * N},
        {"step": list(range(1, N + 1)), "entropy": ENTROPY, "reward": REWARD},
        {"step": list(range(1, N + 1)), "entropy": ENTROPY, "reward": REWARD, "loss": [0.1] * 99, "lr": [0.1] * 99},
        {str(i + 1): {"entropy": ENTROPY[i], "reward": REWARD[i]} for i in range(N)},
    ],
)
def test_rows_wherever_a_document_keeps_them(document: dict, tmp_path: Path) -> None:
    holds(one(tmp_path / "a.json", json.dumps(document)), "unknown", "entropy", 1, "reward")


def test_several_runs_of_a_document_and_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"one": rows(), "two": rows()}))
    assert [run.name for run in read(path)] == ["one", "two"]
    path = tmp_path / "a.csv"
    path.write_text("run,Step,entropy\n" + "".join(f"{name},{i + 1},{ENTROPY[i]}\n" for i in range(N) for name in "ab"))
    first, second = read(path)
    holds(first, "unknown", "entropy")
    assert second.name == "b" and second.form == "CSV"


def test_a_chart_that_wandb_exported_and_long_tables(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    head = '"Step","run - a - train/entropy","run - a - train/entropy__MIN","b - train/entropy"\n'
    path.write_text(head + "".join(f'"{i + 1}","{ENTROPY[i]}","0","{REWARD[i]}"\n' for i in range(N)))
    first, second = read(path)
    assert (first.name, second.name) == ("run - a", "b")
    np.testing.assert_allclose(second["entropy"], REWARD)
    pairs = [(i, key, values[i]) for i in range(N) for key, values in (("entropy", ENTROPY), ("reward", REWARD))]
    long = "step,metric,value\n" + "".join(f"{i + 1},{key},{value}\n" for i, key, value in pairs)
    holds(one(tmp_path / "long.csv", long), "unknown", "entropy", 1, "reward")
    scalar = "Wall time,Step,Value\n" + "".join(f"1.0,{i + 1},{ENTROPY[i]}\n" for i in range(N))
    holds(one(tmp_path / "entropy.csv", scalar), "unknown", "entropy")


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def events(first: int = 1) -> bytes:
    """An event file: its version, then a scalar per event, one of them as a tensor."""
    messages = [b"\x09" + struct.pack("<d", 1.0) + field(3, "brain.Event:2")]
    for i in range(N):
        entropy = field(1, "train/entropy") + field(2, ENTROPY[i])
        tensor = field(1, 1) + field(4, struct.pack("<f", REWARD[i]))
        for value in (entropy, field(1, "train/reward") + field(8, tensor)):
            messages.append(b"\x09" + struct.pack("<d", 1.0) + field(2, i + first) + field(5, field(1, value)))
    return b"".join(struct.pack("<QI", len(m), 0) + m + struct.pack("<I", 0) for m in messages)


def test_event_files(tmp_path: Path) -> None:
    run = one(tmp_path / "events.out.tfevents.1.host", events())
    assert run.form == "TensorBoard event files"
    holds(run, "unknown", "train/entropy", 1, "train/reward")
    (tmp_path / "events.out.tfevents.2.host").write_bytes(events(first=N + 1)[:-5])  # cut, as a crash leaves it
    (run,) = read(tmp_path)
    assert run.steps.tolist() == list(range(1, 2 * N + 1))


def test_event_files_of_tensorboard_s_own_writer(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path))
    for i in range(N):
        for key, values in (("actor/entropy", ENTROPY), ("critic/score/mean", REWARD)):
            value = Summary.Value(tag=key, simple_value=values[i])
            writer.add_event(Event(step=i + 1, wall_time=1.0, summary=Summary(value=[value])))
    writer.close()
    (run,) = read(tmp_path)
    holds(run, "verl", "actor/entropy", 1, "critic/score/mean")


def test_an_offline_run_of_wandb(tmp_path: Path) -> None:
    """Records of LevelDB's log; one is longer than a block."""
    records = [field(1, 1) + field(17, field(1, "id"))]
    for i in range(N):
        items = {
            "train/entropy": ENTROPY[i],
            "train/reward": REWARD[i],
            "train/global_step": i + 1,
            "text": "x" * 5000 * (i == 5),
        }
        history = b"".join(field(1, field(1, key) + field(16, json.dumps(value))) for key, value in items.items())
        records.append(field(1, i + 2) + field(2, history + field(2, field(1, i))))
    out = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for record in records * 8:
        kind = 1
        while True:
            left = 32768 - len(out) % 32768
            if left < 7:
                out += b"\0" * left
                continue
            piece, record = record[: left - 7], record[left - 7 :]
            ends = not record
            out += struct.pack("<IHB", 0, len(piece), (1 if ends else 2) if kind == 1 else (4 if ends else 3)) + piece
            kind = 3
            if ends:
                break
    folder = tmp_path / "wandb" / "offline-run-1"
    folder.mkdir(parents=True)
    (folder / "run-1.wandb").write_bytes(out)
    runs = read(tmp_path / "wandb")
    assert len(out) > 32768 and len(runs) == 8  # eight times the same steps, each from the beginning
    holds(runs[0], "unknown", "train/entropy", 1, "train/reward")
    (folder / "events.out.tfevents.1.host").write_bytes(events())
    (run,) = read(tmp_path / "wandb")
    assert run.form == "TensorBoard event files"
    assert [note.text for note in run.notes if note.code == "left-out" and "run-1.wandb" in note.text]


def test_trackio_s_database(tmp_path: Path) -> None:
    path = tmp_path / "project.db"
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp TEXT, run_name TEXT, step INTEGER, metrics TEXT)"
    )
    for name in ("first", "second"):
        for row in rows():
            database.execute("INSERT INTO metrics VALUES (NULL, '', ?, ?, ?)", (name, row["step"], json.dumps(row)))
    database.commit()
    first, second = read(path)
    holds(first, "unknown", "entropy", 1, "reward")
    assert second.name == "second"
    logged = json.dumps({"train/global_step": 90, "entropy": 0.1})
    database.execute("INSERT INTO metrics VALUES (NULL, '', 'trainer', 3, ?)", (logged,))
    database.commit()
    assert read(path)[2].steps.tolist() == [90]  # not how often its logger was called
    database.execute("DROP TABLE metrics")
    database.execute("CREATE TABLE songs (id INTEGER)")
    database.commit()
    database.close()
    with pytest.raises(DataError, match=r"not trackio's.*songs"):
        read(path)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows()), tmp_path / "a.parquet")
    (run,) = read(tmp_path / "a.parquet")
    holds(run, "unknown", "entropy", 1, "reward")


def test_packed(tmp_path: Path) -> None:
    text = lines(JSON_LINES["tinker"][0])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    holds(read(tmp_path / "a.jsonl.gz")[0], "tinker", "optim/entropy")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("run/metrics.jsonl", text)
        archive.writestr("run/other.log", "nothing")
    holds(read(tmp_path / "a.zip")[0], "tinker", "optim/entropy")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text.encode())[:60])
    with pytest.raises(DataError, match=r"b\.jsonl\.gz"):
        read(tmp_path / "b.jsonl.gz")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """The last one would count, without a word."""
    with pytest.raises(DataError, match=r"a\.csv cannot be read as CSV: several columns are called 'entropy': rename"):
        one(tmp_path / "a.csv", "step,entropy,entropy\n" + lines("STEP,ENTROPY,9"))
