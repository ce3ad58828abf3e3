"""TRL: `controlled(GRPOTrainer, method)` returns a trainer class that holds the policy's entropy."""

from entrostat.hosts.trl.alerts import Alerts
from entrostat.hosts.trl.trainer import controlled

__all__ = ["Alerts", "controlled"]
