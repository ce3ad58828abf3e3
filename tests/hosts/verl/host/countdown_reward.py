"""The reward that verl's reward loop computes for a countdown completion."""

from __future__ import annotations

import json

from entrostat.tasks.base import Problem
from entrostat.tasks.countdown import Countdown


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    prompt, meta = json.loads(ground_truth)
    return float(Countdown().score(Problem(prompt, "", meta), solution_str.replace("<eos>", "")))
