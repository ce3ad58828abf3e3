"""Part 5: verl's engine statistics on the device, where verl's wheels have traveled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from record import Results

from parts.contract import suite

FILES = ("tests/hosts/verl/host/test_engine.py", "tests/hosts/verl/host/test_loss.py")


def main(device: str, results: Results, rehearse: bool) -> None:
    if find_spec("verl") is None:
        results.measure({"file": FILES[0]}, lambda: {"skipped": "verl is not here: its wheels were not packed"})
        return
    files = FILES[:1] if rehearse else FILES
    with ThreadPoolExecutor(len(files)) as pool:  # importing verl and Ray is most of it
        for file in files:
            pool.submit(
                results.measure, {"file": file, "device": device}, lambda file=file: suite(device, file, results)
            )
