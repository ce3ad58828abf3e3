"""TRL: `controlled(GRPOTrainer, method)` returns a trainer class that holds the policy's entropy."""

from entrostat.hosts.trl.trainer import controlled

__all__ = ["controlled"]
