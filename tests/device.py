"""The device that device-independent tests run on: ENTROSTAT_TEST_DEVICE, otherwise CUDA where there is one."""

from __future__ import annotations

import os

import torch

DEVICE = os.environ.get("ENTROSTAT_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
