"""Findings of a run, from its columns. Imports neither torch nor any host."""

from entrostat.diagnose.findings import REGISTER as REGISTER
from entrostat.diagnose.findings import Finding as Finding

__all__ = ["REGISTER", "Finding"]
