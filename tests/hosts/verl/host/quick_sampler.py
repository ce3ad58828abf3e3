"""verl's replay buffer, looking for finished rollouts every 50 milliseconds: its own two seconds are for large runs."""

from __future__ import annotations

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer


class QuickReplayBuffer(ReplayBuffer):
    def __init__(self, **settings):
        super().__init__(**settings, poll_interval=0.05)
