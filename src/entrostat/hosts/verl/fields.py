"""Names under which the driver and the training workers exchange tensors and settings. Imports nothing."""

from __future__ import annotations

WANT = "entrostat_want"
"""Setting of a forward pass: the statistics that it shall return besides verl's own."""

STATISTIC = "entrostat_{}"
"""Field of a statistic, by its name in `types.STATISTICS`: one number per token of prompt and response."""

RATIO_TERM = "entrostat_ratio_term"
"""Field: what one unit of a token's importance ratio adds to the loss, before the mean over tokens."""

ENTROPY_TERM = "entrostat_entropy_term"
"""Field: what one nat of a token's entropy adds to the loss, before the mean over tokens."""

CLIP = "entrostat_clip"
"""Setting of an update: (eps_low, eps_high) of the importance ratio."""

ENGINE = "entrostat.hosts.verl.engine"
"""What `actor_rollout_ref.model.external_lib` must import in the training workers."""

PREFIX = "entrostat_"
"""Before the names of verl's trainers: `trainer.v1.trainer_mode=entrostat_sync`."""
