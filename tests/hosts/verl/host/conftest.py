"""These tests need verl, in an environment of its own: `make test-verl`. Without verl none of them is collected."""

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

    os.environ.update(for_cpu(os.environ))
