"""These tests need vLLM: `make test-vllm`. Without it they are left out."""

import os
from importlib.util import find_spec

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]
