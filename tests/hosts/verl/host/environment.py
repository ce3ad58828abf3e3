"""The environment in which verl runs on CPU, here and in the processes that Ray starts. Imports nothing of verl."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent


def for_cpu(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set."""
    paths = [str(HERE), *filter(None, environment.get("PYTHONPATH", "").split(":"))]
    return {
        "PYTHONPATH": ":".join(dict.fromkeys(paths)),
        "VERL_USE_EXTERNAL_MODULES": "cpu_platform",
        "VERL_PLATFORM": "cpu",
        # verl registers its FSDP engine for these alone.
        "VERL_ENGINE_DEVICE": "cuda",
        "VERL_ENGINE_VENDOR": "nvidia",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        # Ray starts its workers with a niceness of 15, at which a busy machine leaves them nothing.
        "RAY_worker_niceness": "0",
        "HYDRA_FULL_ERROR": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHDYNAMO_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
    }
