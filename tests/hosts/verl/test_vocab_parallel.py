"""The arithmetic behind the Megatron engine, which itself is untested: two processes share a vocabulary. Needs no verl."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from entrostat.errors import MissingStatistic
from entrostat.hosts.verl.vocab_parallel import vocab_parallel_stats


def test_two_ranks_with_half_the_vocabulary_each_equal_the_whole():
    case = Path(__file__).with_name("vocab_parallel_case.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(case)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_statistic_without_a_formula_is_refused():
    with pytest.raises(MissingStatistic, match="use FSDP"):
        vocab_parallel_stats(torch.zeros(1, 2, 3), torch.zeros(1, 2).long(), frozenset({"other"}), torch.ones(1, 2))
