"""Part 5: verl's engine statistics on the device, where verl's wheels have traveled."""

from __future__ import annotations

from importlib.util import find_spec

from record import Results

from parts.contract import suite

FILES = ("tests/hosts/verl/host/test_engine.py", "tests/hosts/verl/host/test_loss.py")


def main(device: str, results: Results, rehearse: bool) -> None:
    if find_spec("verl") is None:
        results.measure({"file": FILES[0]}, lambda: {"skipped": "verl is not here: its wheels were not packed"})
        return
    for file in FILES[:1] if rehearse else FILES:
        results.measure({"file": file, "device": device}, lambda file=file: suite(device, file, ""))
