"""Alerts as a callback of TRL's trainers, or of any other transformers trainer."""

from __future__ import annotations

from typing import Any

from entrostat.diagnosis.alerts import Alerts as Sender
from entrostat.errors import NotInstalled

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise NotInstalled("entrostat.trl needs TRL: pip install 'entrostat[trl]'") from error


class Alerts(TrainerCallback):
    """Sends findings while the run goes on; takes what `entrostat.Alerts` takes. Off unless added to a trainer.

    trainer.add_callback(es.trl.Alerts(wandb=True))
    """

    def __init__(self, **places: Any) -> None:
        self.sender = Sender(**places)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and state.is_world_process_zero and "train_runtime" not in logs:
            self.sender.add(state.global_step, logs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.sender.look()
            self.sender.close()
