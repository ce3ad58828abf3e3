"""Ours beside other projects' released code: `make test-peers`. Without a package its file is not collected."""

from __future__ import annotations

import importlib.util

PACKAGES = {
    "test_trinity.py": "trinity",
    "test_skyrl.py": "skyrl",
    "test_verl.py": "transfer_queue",
    "test_trl.py": "trl",
    "test_other_trainers.py": "unsloth",
}

collect_ignore = [file for file, package in PACKAGES.items() if importlib.util.find_spec(package) is None]
