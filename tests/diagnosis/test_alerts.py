"""Alerts: each finding once, to every place that was asked for; a place that fails does not stop the training."""

from __future__ import annotations

import contextvars
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrostat.diagnosis import Finding
from entrostat.diagnosis.alerts import Alerts
from entrostat.errors import ConfigError


def dead(alerts: Any, steps: int = 80) -> list[Finding]:
    """A run that dies after twenty steps."""
    found = []
    for step in range(1, steps + 1):
        lives = step <= 20
        found += alerts.add(
            step, {"entropy": 0.5, "reward": 0.3 if lives else 0.0, "grad_norm": 0.2 if lives else 0.0, "note": "text"}
        )
    alerts.close()
    return found


def test_each_finding_is_sent_once() -> None:
    seen: list[Finding] = []
    found = dead(Alerts(call=seen.append, every=10))
    codes = [finding.code for finding in seen]
    assert "E302" in codes and len(codes) == len(set(codes)) and found == seen


def test_a_healthy_run_sends_nothing() -> None:
    seen: list[Finding] = []
    alerts = Alerts(call=seen.append, every=10)
    for step in range(1, 100):
        alerts.add(
            step, {"entropy": 0.5 + 0.01 * (step % 3), "reward": 0.002 * step, "grad_norm": 0.2 + 0.01 * (step % 5)}
        )
    assert seen == []


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", got
        server.shutdown()


def test_a_webhook_and_a_command_get_the_finding(inbox: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    address, got = inbox
    place = tmp_path / "found.json"
    write = [sys.executable, "-c", f"import sys; open({str(place)!r}, 'a').write(sys.stdin.read() + '\\n')"]
    found = dead(Alerts(webhook=address, command=write, name="mine"))
    assert [each["finding"]["code"] for each in got] == [finding.code for finding in found]
    assert got[0]["text"].startswith("mine: severe")
    assert [json.loads(line)["finding"] for line in place.read_text().splitlines()] == [each["finding"] for each in got]


@pytest.mark.filterwarnings("ignore:an alert could not be sent")
def test_a_place_that_fails_stops_nothing() -> None:
    seen: list[Finding] = []
    assert dead(Alerts(webhook="http://127.0.0.1:9/", call=seen.append)) == seen != []


@pytest.mark.parametrize("tracker", ["trackio", "wandb"])
def test_trackers_get_it_in_their_own_words(tracker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    fake = SimpleNamespace(
        AlertLevel=SimpleNamespace(ERROR="error", WARN="warn"), alert=lambda **said: sent.append(said)
    )
    monkeypatch.setitem(sys.modules, tracker, fake)
    dead(Alerts(**{tracker: True}))
    assert sent[0]["title"].startswith("E302") and sent[0]["level"] == "error" and sent[0]["text"]


def test_a_place_sees_the_context_of_the_training() -> None:
    """trackio keeps its open run in a context variable."""
    run: contextvars.ContextVar[str] = contextvars.ContextVar("run", default="none")
    run.set("mine")
    seen: list[str] = []
    dead(Alerts(call=lambda finding: seen.append(run.get())))
    assert seen and set(seen) == {"mine"}


def test_trl_s_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    from entrostat.hosts.trl.alerts import Alerts as Callback

    seen: list[Finding] = []
    callback = Callback(call=seen.append, every=10)
    for step in range(1, 60):
        state = SimpleNamespace(global_step=step, is_world_process_zero=True)
        callback.on_log(
            None, state, None, {"entropy": 0.5, "reward": 0.3 * (step < 20), "grad_norm": 0.2 * (step < 20)}
        )
    callback.on_train_end(None, state, None)
    assert "E302" in [finding.code for finding in seen]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"webhook": "file:///etc/passwd"},
        {"webhook": 3},
        {"command": "rm -rf"},
        {"command": 3},
        {"command": []},
        {"command": [3]},
        {"call": 3},
        {"call": print, "every": 2.5},
        {"call": print, "every": 0},
        {"call": print, "least": "x"},
    ],
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Alerts(**settings)
