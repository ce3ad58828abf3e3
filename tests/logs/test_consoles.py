"""Consoles as they are: progress bars, panels, dictionaries over several lines, completions that count steps, micro-batches."""

from __future__ import annotations

import json
import pprint
from pathlib import Path

import numpy as np
import pytest

from entrostat.errors import DataError
from entrostat.logs import Run, read
from entrostat.logs.values import number_in

N = 12
ENTROPY = [round(0.5 - 0.02 * i, 3) for i in range(N)]
REWARD = [round(0.1 + 0.03 * i, 3) for i in range(N)]


def of(path: Path, text: str, first: int = 1, every: int = 1) -> Run:
    """The only run of a log, whose entropy and reward must be the ones above."""
    file = path / "console.log"
    file.write_text(text)
    (run,) = read(file)
    assert run.steps.tolist() == [first + every * i for i in range(N)]
    np.testing.assert_allclose(run["entropy"], ENTROPY)
    np.testing.assert_allclose(run["reward"], REWARD)
    return run


def test_prime_rl_writes_no_colons_and_micro_steps_are_no_steps(tmp_path: Path) -> None:
    lines = []
    for i in range(N):
        lines.append(f"10:00:01 SUCCESS Step {i + 1} |  12.0s | Reward {REWARD[i]} | Trainable 3/4 (75.0%) | Turns 1.0")
        lines.append("\t\t ╰─ math | Ratio 50.0% | Reward 0.9900 | Turns 1.0")
        lines.append("10:00:02   DEBUG Micro Step 3/4 | Loss 0.5 | Entropy 0.9100 | Mismatch KL 0.1")
        lines.append(
            f"10:00:03 SUCCESS Step {i + 1} |   9.1s | Loss 0.0012 | Entropy {ENTROPY[i]} | Mismatch KL 0.0008 | "
            "Grad. Norm 0.1123 | LR 1.00e-06 | Throughput 9000 tokens/s | MFU 32.1%"
        )
    run = of(tmp_path, "\n".join(lines))
    assert run.host == "prime-rl" and run["grad_norm"][0] == 0.1123 and run["learning_rate"][0] == 1e-6


def test_a_dictionary_over_several_lines_is_the_step_s_and_what_is_printed_beside_it_is_not(tmp_path: Path) -> None:
    lines = []
    for i in range(N):
        head = "\x1b[36m(skyrl_entrypoint pid=12)\x1b[0m "
        values = {
            "policy/policy_entropy": f"{ENTROPY[i]:.4f}",
            "reward/avg_raw_reward": f"{REWARD[i]:.4f}",
            "policy/policy_kl": "0.0100",
            "timing/policy_train": "11.2000",
        }
        lines.append(f"{head}2025-11-01 | INFO | postprocess:1117 - reward/avg_raw_reward: {REWARD[i]}, reward/x: 0.3")
        lines.append(f"{head}2025-11-01 | INFO | tracking:188 - Step {i + 1}: ")
        lines += [head + line for line in pprint.pformat(values).split("\n")]
        lines.append(f"{head}2025-11-01 | INFO | - Finished: 'step', time cost: 31.2s")
    assert of(tmp_path, "\n".join(lines)).host == "skyrl"


def test_bars_of_inner_loops_and_their_postfixes_are_no_steps(tmp_path: Path) -> None:
    lines = []
    for i in range(N):
        for at in (1, 2):
            bar = f"Train epoch [1/1]:  {50 * at}%|███  | {at}/2 [00:01<00:01,  1.2s/it, act_loss=0.1, reward=0.99, kl=0.5]"
            lines.append(f"(PolicyModelActor pid=7) {bar}")
        values = {"policy_loss": 0.01, "entropy_loss": ENTROPY[i], "reward": REWARD[i], "kl": 0.001, "actor_lr": 5e-7}
        lines.append(f"(PPOTrainer pid=8) 2025-10-01 INFO ✨ Global step {i + 1}: {values}")
        lines.append(f"(PPOTrainer pid=8) Episode [1/1]:  {i}%|▌  | {i + 1}/{N} [00:10<10:00, 10.1s/it]\r")
    run = of(tmp_path, "\n".join(lines))
    assert run.host == "openrlhf" and np.all(run["kl"] == 0.001)


def test_bars_of_generation_and_evaluation_are_no_steps_and_completions_count_their_own(tmp_path: Path) -> None:
    text = "Loading checkpoint shards: 100%|██████| 2/2 [00:00<00:00, 8.66it/s]\n"
    for step in range(1, 10 * N + 1):
        text += "Processed prompts: 100%|███| 64/64 [00:12<00:00, 7.2s/it, est. speed input: 11.1 toks/s, output: 140.9 toks/s]\r"
        text += f"\r  {step}%|▌   | {step}/{10 * N} [00:19<01:22, 19.23s/it]"
        if step % 10 == 0:
            text += "\nStep 1: multiply. Step 2: add.\nStep 3: so it is 4.\n"
            text += (
                f"{{'loss': '0.01', 'entropy': '{ENTROPY[step // 10 - 1]}', 'reward': '{REWARD[step // 10 - 1]}'}}\n"
            )
        if step % 40 == 0:
            text += "  0%|  | 0/3 [00:00<?, ?it/s]\r 67%|██  | 2/3 [00:01<00:01, 1.2it/s]\n{'eval_reward': 0.5}\n"
    run = of(tmp_path, text, first=10, every=10)
    assert "output" not in run and run["evaluation"][3] == 0.5 and run.noted("logged-every")


def test_a_second_run_with_a_shorter_bar_is_a_second_run(tmp_path: Path) -> None:
    text = ""
    for total in (9, 5):
        text += f"  0%|   | 0/{total} [00:00<?, ?it/s]\n"
        for step in range(1, total + 1):
            text += f" 1%|  | {step}/{total} [00:01<00:01, 1.0s/it]\n{{'loss': 0.1, 'entropy': 0.3, 'reward': 0.2}}\n"
    (tmp_path / "a.log").write_text(text)
    assert [run.steps.tolist() for run in read(tmp_path / "a.log")] == [list(range(1, 10)), list(range(1, 6))]


def test_the_step_overall_goes_before_the_step_of_the_epoch(tmp_path: Path) -> None:
    lines = []
    for i in range(N):
        at = f"Epoch {i // 4 + 1}/3 Step {i % 4 + 1}/4 Train step {i + 1}/12 done."
        cells = f"│ ppo_actor/update/entropy/avg │ {ENTROPY[i]:.4e} │ ppo_actor/task_reward/avg │ {REWARD[i]:.4e} │"
        lines += [f"20251101-10:00:00 StatsLogger INFO: {at}", "╒════╤════╕", cells, "╘════╧════╛"]
    assert of(tmp_path, "\n".join(lines)).host == "areal"
    lines = [
        f"Epoch [{i // 4 + 1}/3], Step [{i % 4 + 1}/4], Entropy: {ENTROPY[i]}, Reward: {REWARD[i]}" for i in range(N)
    ]
    of(tmp_path, "\n".join(lines))


def test_a_panel_of_metrics_whose_step_stands_in_its_middle(tmp_path: Path) -> None:
    lines = []
    for i in range(N):
        lines += [
            "╭──── Metrics ────╮",
            "│ loss     kl_avg: 1.00e-03 | policy_avg: 0.01 │",
            f"│ other    episode: {64 * i} | training_step: {i + 1} |       │",
            f"│          scores: {REWARD[i]} | lr: 5.00e-07             │",
            f"│ policy   clipfrac_avg: 0.02 | entropy_avg: {ENTROPY[i]} │",
            "╰─────────────────╯",
        ]
    run = of(tmp_path, "\n".join(lines))
    assert run.columns["entropy"].key == "policy/entropy_avg" and run["kl"][0] == 0.001


def test_rows_of_rollouts_between_rows_of_steps_go_with_the_next_step(tmp_path: Path) -> None:
    lines = []
    for i in range(N):
        if i % 2 == 0:
            lines.append(
                f"(X pid=9) data.py:1 - rollout {i // 2}: {{'rollout/raw_reward': {REWARD[i]}, 'rollout/rewards': 0.0}}"
            )
        lines.append(f"(X pid=9) model.py:8 - step {i}: {{'train/loss': 0.1, 'train/entropy_loss': {ENTROPY[i]}}}")
    (tmp_path / "a.log").write_text("\n".join(lines))
    (run,) = read(tmp_path / "a.log")
    assert run.steps.tolist() == list(range(N)) and run.columns["reward"].key == "rollout/raw_reward"
    np.testing.assert_allclose(run["reward"][2::2], REWARD[2::2])  # the first came before any step


def test_json_behind_a_logger_s_words_and_samples_that_are_no_steps(tmp_path: Path) -> None:
    metrics = [{"critic/entropy/mean": ENTROPY[i], "critic/score/mean": REWARD[i], "x": None} for i in range(N)]
    rows = [{"step": i + 1, "metrics": {**metrics[i], "y": float("nan")}} for i in range(N)]
    lines = [f"[2025] [INFO] metrics_tag: {json.dumps(row)}" for row in rows]
    assert of(tmp_path, "\n".join(lines)).host == "roll"
    lines = []
    for i in range(N):
        lines += [f"train - INFO - rollout batch {i} generated, length: 256"]
        lines += ["response: Step 2: the entropy is high", "{'format_reward': 1.0, 'reward': 0.0}"] * 3
        lines.append(f"train - INFO - rl_loss: 0.1, token_entropy: {ENTROPY[i]}, mean_reward: {REWARD[i]}")
    assert of(tmp_path, "\n".join(lines), first=0).columns["reward"].key == "mean_reward"


@pytest.mark.parametrize("kind", ["tabs", "Markdown", "notebook"])
def test_a_table_under_its_heading(kind: str, tmp_path: Path) -> None:
    rows = [["Step", "Training Loss", "reward", "completions / mean_length", "entropy"]]
    rows += [[str(i + 1), "0.010000", str(REWARD[i]), "210.5", str(ENTROPY[i])] for i in range(N)]
    if kind == "notebook":
        table = "".join("<tr>\n" + "".join(f"  <td>{cell}</td>\n" for cell in row) + "</tr>\n" for row in rows)
        outputs = [{"data": {"text/html": [f"<table>\n{table}</table>"]}}, {"text": ["done\n"]}]
        text = json.dumps({"nbformat": 4, "cells": [{"outputs": outputs}, {"source": []}]}, indent=1)
    else:
        text = "[12/12 10:00, Epoch 1/1]\n" + "\n".join(
            "\t".join(row) if kind == "tabs" else f"| {' | '.join(row)} |" for row in rows
        )
    run = of(tmp_path, text)
    assert run["length"][0] == 210.5 and run["loss"][0] == 0.01


def test_text_of_other_systems(tmp_path: Path) -> None:
    lines = [
        f"step:{i + 1} - actor/entropy:{ENTROPY[i]} - critic/score/mean:{REWARD[i]} - n/mean:1,024.5" for i in range(N)
    ]
    for encoding in ("utf-16", "utf-8-sig"):
        (tmp_path / "a.log").write_bytes("\r\n".join(lines).encode(encoding))
        (run,) = read(tmp_path / "a.log")
        np.testing.assert_allclose(run["entropy"], ENTROPY)
    (tmp_path / "a.csv").write_bytes('\ufeff"train/global_step","a - train/entropy"\r\n"5","0.5"\r\n'.encode())
    assert read(tmp_path / "a.csv")[0].steps.tolist() == [5]
    (tmp_path / "a.csv").write_text("step;entropy\n1.000;0,5\n2.000;0,25\n")
    assert read(tmp_path / "a.csv")[0]["entropy"].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.3", 0.3),
        ("1,024.5", 1024.5),
        ("53.1%", 0.531),
        ("5/100", 5),
        ("nan%", np.nan),
        ("1,2", None),
        ("2d 3h", None),
    ],
)
def test_numbers_as_text(text: str, number: float | None) -> None:
    assert number_in(text) == pytest.approx(number, nan_ok=True) if number is not None else number_in(text) is None


def test_settings_alone_are_no_log(tmp_path: Path) -> None:
    (tmp_path / "config.log").write_text("step: 3\nlr: 1e-6\nentropy_coef: 0.1\n")
    with pytest.raises(DataError, match="none of them is an entropy.*There are 'lr', 'entropy_coef'"):  # noqa: RUF043
        read(tmp_path / "config.log")
