"""The tests' device: what a test makes is there, what the library makes is where the library puts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
OF_A_TEST = """
draw = torch.Generator().manual_seed(3)
z, k = torch.randn(4, generator=draw), torch.tensor([1, 2])
layer = torch.nn.Linear(4, 2)
moved = torch.multinomial(z.exp(), 2, generator=draw)
leaf = torch.ones(3, requires_grad=True)
(leaf * 2).sum().backward()
read = z.numpy()
picked = z[[0, 2]], z[k.cpu()], torch.tensor([z[0], z[1]]), torch.from_numpy(read)
"""
SCRIPT = """
import torch
from device import LIBRARY, TESTS, placed

def ran(where, text, **names):
    exec(compile(text, where + "some.py", "exec"), names | {"torch": torch}, names)
    return names

plain = torch.randn(4, generator=torch.Generator().manual_seed(3))
with placed():
    test = ran(TESTS, OF_A_TEST)
    made = [test["z"], test["k"], test["layer"].weight, test["moved"], test["leaf"].grad, *test["picked"]]
    assert {each.device.type for each in made} == {"elsewhere"}, made
    assert torch.equal(test["z"].cpu(), plain) and (test["read"] == plain.numpy()).all()
    assert ran(LIBRARY, "x = torch.zeros(3)")["x"].device.type == "cpu"
    assert ran(LIBRARY, "x = torch.tensor([3], device=z.device)", z=test["z"])["x"].device.type == "elsewhere"
    for wrong in ("z + torch.zeros(4)", "torch.arange(4)[z > 0]", "z[k] + torch.zeros(2)", "z.numpy()"):
        try:
            ran(LIBRARY, f"x = {wrong}", z=test["z"], k=test["k"])
        except (RuntimeError, TypeError) as error:
            assert "elsewhere" in str(error), error
        else:
            raise AssertionError(f"{wrong} in the library went unnoticed")
"""


def test_the_tests_device() -> None:
    """In a process of its own: a device is for a whole process."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        "ENTROSTAT_TEST_DEVICE": "elsewhere",
    }
    script = f"OF_A_TEST = {OF_A_TEST!r}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_processes_of_a_test_see_no_card() -> None:
    """Two ranks on one card meet over nothing, so they are on the CPU, whatever device their test is on."""
    seen = "import os, device; assert (device.DEVICE, os.environ['CUDA_VISIBLE_DEVICES']) == ('cpu', '')"
    script = f"from ranks import in_a_process\nif __name__ == '__main__':\n    in_a_process(exec, {seen!r})\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "ENTROSTAT_TEST_DEVICE": "cuda"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
