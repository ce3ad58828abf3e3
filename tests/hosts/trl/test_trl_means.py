"""The logged `predicted` is what TRL's own backward pass does to the entropy, by whatever number its loss divides."""

from __future__ import annotations

import json

import pytest
from hosts.trl.means_case import CASES, METHODS, changes_of, main, run_of
from hosts.trl.trl_case import history
from ranks import on_ranks

pytestmark = [pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", CASES)
def test_predicted_is_what_the_backward_pass_does(tmp_path, name, method):
    run, seen = run_of(tmp_path, CASES[name], method)
    run.train()
    lengths = [int(batch.mask.sum()) for batch in seen]
    assert len(seen) == 8 and len(set(lengths)) > 1
    assert any(not batch.mask.any(1).all() for batch in seen) == ("truncated" in name)
    assert sum(lengths[:4]) != sum(lengths[4:]) or "several steps" not in name
    assert history(run, "entropy_control/predicted") == pytest.approx(changes_of(run, seen), rel=1e-3, abs=1e-6)


def test_ranks_agree_on_it(tmp_path):
    on_ranks(2, main, str(tmp_path), variables={"ACCELERATE_USE_CPU": "true"})
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first.keys() == second.keys() and len(first) == 15
    for name, one in first.items():
        other = second[name]
        assert (one["state"], one["steps"]) == (other["state"], 2), name
        # Gradients are averaged over ranks.
        mean = [(a + b) / 2 for a, b in zip(one["changes"], other["changes"], strict=True)]
        assert one["logged"] == pytest.approx(mean, rel=1e-3, abs=1e-6), name
