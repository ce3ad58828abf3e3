"""Send findings while a run goes on.

    alerts = Alerts(webhook="https://...", every=20)
    for step in ...:
        alerts.add(step, metrics)       # any trainer's metrics, by its own names

Nothing is sent unless a place is given. If a place fails, there is one warning, and training goes on.
"""

from __future__ import annotations

import contextvars
import json
import os
import subprocess
import threading
import urllib.request
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from entrostat.diagnosis.findings import SEVERITIES, WARNING, Finding
from entrostat.diagnosis.rules import diagnose
from entrostat.errors import ConfigError, DataError
from entrostat.logs.read import from_rows

_TIMEOUT = 10.0
_KEPT = 20_000  # steps that are looked at: the latest


class Alerts:
    """Diagnose a run every so many steps and send what is found: each code once, and again if it becomes more severe.

    Args:
        webhook: an http or https address; the findings are posted as JSON, with a `text` that chat services show.
        command: a program and its arguments; it gets the JSON on its standard input. No shell is used.
        trackio, wandb: send through the tracker's own alerts, to the run that is open there.
        call: a function that is called with each finding.
        every: steps between two diagnoses.
        least: the mildest severity that is sent: "severe", "warning" or "remark".
        name: of the run, in messages.

    Raises:
        ConfigError: no place to send to, or a wrong value.
    """

    def __init__(
        self,
        *,
        webhook: str | None = None,
        command: Sequence[str] | None = None,
        trackio: bool = False,
        wandb: bool = False,
        call: Callable[[Finding], Any] | None = None,
        every: int = 20,
        least: str = WARNING,
        name: str = "run",
    ) -> None:
        if webhook is not None and not str(webhook).startswith(("http://", "https://")):
            raise ConfigError(f"webhook must be an http or https address, got {webhook!r}")
        words = isinstance(command, list | tuple) and all(isinstance(word, str | os.PathLike) for word in command)
        if command is not None and not (words and command):
            raise ConfigError(f"command must be a list of a program and its arguments, got {command!r}")
        if call is not None and not callable(call):
            raise ConfigError(f"call must be a function of a finding, got {call!r}")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ConfigError(f"every must be 1 or more steps, got {every!r}")
        if least not in SEVERITIES:
            raise ConfigError(f"least must be one of {', '.join(SEVERITIES)}, got {least!r}")
        places: dict[str, Callable[[Finding], Any] | None] = {
            "webhook": (lambda finding: _post(webhook, finding)) if webhook else None,
            "command": (lambda finding: _run(command, finding)) if command else None,
            "trackio": _to_trackio if trackio else None,
            "wandb": _to_wandb if wandb else None,
            "call": call,
        }
        self.places = {place: send for place, send in places.items() if send is not None}
        if not self.places:
            raise ConfigError("Alerts has no place to send to: give webhook, command, trackio=True, wandb=True or call")
        self.every, self.least, self.name = every, SEVERITIES.index(least), name
        self._rows: deque[Mapping[str, Any]] = deque(maxlen=_KEPT)
        self._sent: dict[str, int] = {}
        self._failed: set[str] = set()
        self._looked = 0
        self._sending: list[threading.Thread] = []

    def add(self, step: int, metrics: Mapping[str, Any]) -> list[Finding]:
        """The metrics of a step; what was found new, which is being sent."""
        self._rows.append({"step": step} | {k: v for k, v in metrics.items() if isinstance(v, int | float)})
        if step - self._looked < self.every:
            return []
        self._looked = step
        return self.look()

    def look(self) -> list[Finding]:
        """Look now: what is new is sent, and returned."""
        try:
            runs = from_rows(self._rows, self.name)
        except DataError:
            return []  # nothing of a training run yet
        fresh = []
        for finding in diagnose(runs[-1]) if runs else []:
            grave = SEVERITIES.index(finding.severity)
            if grave <= self.least and grave < self._sent.get(finding.code, len(SEVERITIES)):
                self._sent[finding.code] = grave
                fresh.append(finding)
        if fresh:
            # In this thread's context, where trackio keeps the run that is open.
            send = contextvars.copy_context().run
            thread = threading.Thread(target=send, args=(self._send, fresh), daemon=True)
            self._sending = [each for each in self._sending if each.is_alive()] + [thread]
            thread.start()
        return fresh

    def close(self) -> None:
        """Wait for what is being sent, a few seconds at most."""
        for thread in self._sending:
            thread.join(2 * _TIMEOUT)

    def _send(self, findings: Sequence[Finding]) -> None:
        for place, send in self.places.items():
            for finding in findings:
                try:
                    send(finding)
                except Exception as error:  # whatever a place raises, the training goes on
                    if place not in self._failed:
                        self._failed.add(place)
                        warnings.warn(f"an alert could not be sent to {place}: {error}", stacklevel=2)


def _message(finding: Finding) -> dict[str, Any]:
    text = f"{finding.run}: {finding.severity} {finding.code} {finding.title}. {finding.text} {finding.advice}"
    return {"text": text, "finding": finding.record}


def _post(address: str, finding: Finding) -> None:
    body = json.dumps(_message(finding), default=str).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # http and https alone
    with urllib.request.urlopen(request, timeout=_TIMEOUT):
        pass


def _run(command: Sequence[str], finding: Finding) -> None:
    text = json.dumps(_message(finding), default=str)
    subprocess.run(list(command), input=text, text=True, timeout=_TIMEOUT, check=True, stdout=subprocess.DEVNULL)


def _to_trackio(finding: Finding) -> None:
    import trackio

    level = trackio.AlertLevel.ERROR if finding.severity == "severe" else trackio.AlertLevel.WARN
    trackio.alert(title=f"{finding.code} {finding.title}", text=f"{finding.text} {finding.advice}", level=level)


def _to_wandb(finding: Finding) -> None:
    import wandb

    level = wandb.AlertLevel.ERROR if finding.severity == "severe" else wandb.AlertLevel.WARN
    wandb.alert(title=f"{finding.code} {finding.title}", text=f"{finding.text} {finding.advice}", level=level)
