"""No setting of a published method takes what is not of its kind: 'false' is not False, '' is not 0, True is not 1."""

from __future__ import annotations

import inspect
import math
import typing

import numpy as np
import pytest
import torch

import entrostat as es
from entrostat.control import Piecewise, decrease_increase_decrease
from entrostat.control.doubling import Doubling
from entrostat.errors import ConfigError
from entrostat.lab.stability import Loop
from entrostat.methods import factory, names

TEXTS = ["false", "", "no", "0.3", b"1"]
STRANGE = {
    bool: [*TEXTS, None, 0, 1, 2.5, [], {}],
    int: [*TEXTS, True, None, 2.5, math.nan, [], {}],
    float: [*TEXTS, True, None, math.nan, math.inf, 1j, [], {}, (1, 2), 10**400],
}


NEEDED = {"target": 0.3, "low": 0.2, "high": 0.5}


def settings():
    for name in names():
        build = factory(name)
        hints = typing.get_type_hints(build.__init__ if inspect.isclass(build) else build)
        parameters = inspect.signature(build).parameters
        needed = {k: NEEDED.get(k, 10) for k, p in parameters.items() if p.default is p.empty}
        for setting in parameters:
            for kind in STRANGE:
                if hints[setting] in (kind, kind | None):
                    yield name, setting, kind, hints[setting] != kind, needed


@pytest.mark.parametrize(("name", "setting", "kind", "optional", "needed"), list(settings()))
def test_a_setting_of_another_kind_is_refused_by_name(name, setting, kind, optional, needed):
    for value in STRANGE[kind]:
        if not (value is None and optional):
            with pytest.raises(ConfigError, match=setting):
                factory(name)(**{**needed, setting: value})


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: es.flow(0.3, limits="01"), "limits"),
        (lambda: es.temperature(0.3, limits=(1, 2, 3)), "limits"),
        (lambda: es.temperature(0.3, limits=None), "limits"),
        (lambda: es.make("tampo", candidates=0.8), "candidates"),
        (lambda: es.make("clip_b", two_sided="false"), r"method.two_sided.*true or false, got 'false'"),
        (lambda: es.make("bapo_balanced", high=[1.2, "2"]), "high"),
        (lambda: es.flow(0.3, scope="Step"), "scope"),
        (lambda: es.make("e3_temperature", vocabulary=30, target=-1.0), "target"),
        (lambda: es.make("positive_reweighting_staged", steps=0), "steps"),
        (lambda: es.entropy_bonus("0.1"), "coef"),
        (lambda: Doubling(0.3, both_signs="no"), "both_signs"),
        (lambda: Doubling(0.3, start="0.01"), "start"),
        (lambda: Piecewise(3.0), "points"),
        (lambda: decrease_increase_decrease(9, 0.2, 0.4, 0.1, turns=0.5), "turns"),
        (lambda: Loop(kp="1"), "kp"),
        (lambda: Loop(1.0, momentum=None), "momentum"),
    ],
)
def test_tuples_words_and_knobs_too(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


def test_numbers_of_other_libraries_are_numbers():
    assert es.entropy_bonus(np.float32(0.5)) == es.entropy_bonus(torch.tensor(0.5)) == es.entropy_bonus(0.5)
    assert es.flow(0.3, w_max=np.int64(4), limits=[np.float64(-1), 1]) == es.flow(0.3, w_max=4.0, limits=(-1.0, 1.0))
    assert es.clip_b(two_sided=np.bool_(True)) == es.clip_b(two_sided=True)
