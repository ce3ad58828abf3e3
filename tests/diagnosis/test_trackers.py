"""Alerts through the trackers themselves, without a network: W&B offline, trackio's database. Skipped where not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entrostat.diagnosis.alerts import Alerts
from entrostat.logs import read

pytestmark = pytest.mark.filterwarnings("default")  # the trackers' own


def dead_run(alerts: Alerts, log: Any) -> None:
    """Sixty steps of a run whose reward and gradient become exactly 0."""
    for step in range(1, 61):
        alive = float(step < 20)
        metrics = {"entropy": 0.5, "reward": 0.3 * alive, "grad_norm": 0.2 * alive}
        log(metrics)
        alerts.add(step, metrics)
    alerts.close()


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(project="entrostat", dir=str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        sent: list[str] = []
        real = wandb.alert
        patch.setattr(wandb, "alert", lambda **said: (sent.append(said["title"]), real(**said)))
        dead_run(Alerts(wandb=True), run.log)
    run.finish()
    assert any(title.startswith("E302") for title in sent)
    (log,) = read(tmp_path / "wandb")  # and our reader takes what W&B has written
    assert len(log) == 60 and log["entropy"].tolist() == [0.5] * 60


def test_trackio_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio")
    trackio.init(project="entrostat", name="mine")
    dead_run(Alerts(trackio=True), trackio.log)
    trackio.finish()
    written = sorted(tmp_path.rglob("*.db"))
    assert any(b"E302" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    (log,) = read(written[0])
    assert len(log) == 60 and log["reward"].max() == 0.3
