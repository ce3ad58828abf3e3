"""Findings of a run: every rule on its columns, the gravest first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from entrostat.diagnosis import control_rules, entropy_rules, measurement_rules, training_rules
from entrostat.diagnosis.advice import advice_for
from entrostat.diagnosis.evidence import Evidence, Facts
from entrostat.diagnosis.findings import REGISTER, SEVERITIES, Finding
from entrostat.logs import Run, read

RULES: dict[str, Callable[[Facts], Evidence | None]] = {
    "E101": entropy_rules.collapse,
    "E102": entropy_rules.explosion,
    "E103": entropy_rules.rising_while_reward_falls,
    "E104": entropy_rules.exhausted,
    "E105": entropy_rules.swings,
    "E201": control_rules.at_its_limit,
    "E202": control_rules.windup,
    "E203": control_rules.no_authority,
    "E204": control_rules.out_of_reach,
    "E301": training_rules.no_signal,
    "E302": training_rules.dead,
    "E303": training_rules.length_collapse,
    "E304": training_rules.length_explosion,
    "E305": training_rules.gradient_spike,
    "E401": measurement_rules.noisy,
    "E402": measurement_rules.not_sampled,
    "E403": measurement_rules.units_change,
    "E404": measurement_rules.restarts,
    "E405": measurement_rules.no_entropy,
    "E406": measurement_rules.not_finite,
}
"""The rule of each code: a pure function of a run's columns and notes."""


def diagnose(run: Run | str | Path) -> list[Finding]:
    """What is wrong with a run, or with each run of a log, the most severe and surest first; empty if nothing was found.

    Low or rising entropy alone is not a finding: the rules also look at reward, length and gradient. A log without these gets
    fewer findings.

    Args:
        run: a run as `entrostat.logs.read` gives it, or the path of a log of any host.

    Raises:
        ConfigError, DataError: the path, as `entrostat.logs.read`.
    """
    runs = [run] if isinstance(run, Run) else read(run)
    found = [finding for each in runs for finding in _of_one(each)]
    return sorted(found, key=lambda finding: (SEVERITIES.index(finding.severity), -finding.confidence))


def _of_one(run: Run) -> list[Finding]:
    facts = Facts(run)
    found = []
    for code, rule in RULES.items():
        seen = rule(facts)
        if seen is not None:
            entry = REGISTER[code]
            found.append(
                Finding(
                    code=code,
                    title=entry.title,
                    severity=seen.severity or entry.severity,
                    confidence=round(float(seen.confidence), 2),
                    text=seen.text,
                    advice=advice_for(code, run.host),
                    steps=seen.steps,
                    quantity=seen.quantity if seen.quantity in run else "",
                    numbers=seen.numbers,
                    run=run.name,
                )
            )
    return found
