"""Findings of a run, from its columns. Imports neither torch nor any host."""

from entrostat.diagnosis.findings import REGISTER as REGISTER
from entrostat.diagnosis.findings import Finding as Finding
from entrostat.diagnosis.findings import nothing_found as nothing_found
from entrostat.diagnosis.rules import diagnose as diagnose

__all__ = ["REGISTER", "Finding", "diagnose", "nothing_found"]
