"""These tests need verl, in an environment of its own: `make test-verl`. Without verl none of them is collected.

They run on the CPU; with ENTROSTAT_TEST_DEVICE=cuda those without Ray run on verl's own platform for CUDA.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent

if importlib.util.find_spec("transfer_queue") is None:
    collect_ignore_glob = ["*"]
else:
    sys.path.insert(0, str(HERE))
    from environment import for_cpu

    if os.environ.get("ENTROSTAT_TEST_DEVICE") != "cuda":
        os.environ.update(for_cpu(os.environ))
