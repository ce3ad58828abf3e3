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


def parameters():
    """Of every method each setting with its annotation, and what else must be given."""
    for name in names():
        build = factory(name)
        hints = typing.get_type_hints(build.__init__ if inspect.isclass(build) else build)
        parameters = inspect.signature(build).parameters
        needed = {k: NEEDED.get(k, 10) for k, p in parameters.items() if p.default is p.empty}
        for setting in parameters:
            yield name, setting, hints[setting], needed


def settings():
    for name, setting, hint, needed in parameters():
        for kind in STRANGE:
            if hint in (kind, kind | None):
                yield name, setting, kind, hint != kind, needed


@pytest.mark.parametrize(("name", "setting", "kind", "optional", "needed"), list(settings()))
def test_a_setting_of_another_kind_is_refused_by_name(name, setting, kind, optional, needed):
    for value in STRANGE[kind]:
        if not (value is None and optional):
            with pytest.raises(ConfigError, match=setting):
                factory(name)(**{**needed, setting: value})


def flat(hint):
    inside = typing.get_args(hint)
    return {hint}.union(*map(flat, inside)) if inside else {hint}


def numbers_of_methods():
    for name, setting, hint, needed in parameters():
        if float in flat(hint) and tuple not in map(typing.get_origin, flat(hint)):
            yield name, setting, needed


@pytest.mark.parametrize(("name", "setting", "needed"), list(numbers_of_methods()))
def test_no_number_is_as_large_as_it_likes(name, setting, needed):
    """A gain of 1e30, a rate of 1e9: the first step would end the run."""
    for value in (1e30, 1e9, -1e9):
        with pytest.raises(ConfigError, match=r"must|above|below|around|lie|cross|empty"):
            es.EntropyControl(factory(name)(**{**needed, setting: value}), vocabulary=50)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip_higher", {"eps_low": 1.5}),
        ("ce_gppo", {"eps_low": -0.1}),
        ("ce_gppo", {"beta_low": -1.0}),
        ("ce_gppo", {"dual_clip": 1.0}),
        ("dcpo", {"target": -0.1}),
        ("dcpo", {"hot": 101.0}),
        ("flexible_clip", {"steps": 100, "standard": 2.0}),
        ("kl_cov", {"coef": -1.0}),
        ("lp_reg", {"kappa": 2.0}),
        ("nsr", {"weight": -1.0}),
        ("positive_reweighting", {"weight": -1.0}),
        ("reheat", {"temperature": 101.0}),
        ("siren", {"mass": 1.5}),
        ("stare", {"up": -1.0}),
        ("temperature", {"target": 0.3, "rate": 1.5}),
        ("ulorl", {"entropy": -0.1}),
    ],
)
def test_what_cannot_be_right_is_refused(name, options):
    with pytest.raises(ConfigError):
        factory(name)(**options)


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
