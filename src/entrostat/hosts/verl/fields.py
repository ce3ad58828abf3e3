"""Names under which the driver and the training workers exchange tensors and settings. Imports nothing."""

from __future__ import annotations

WANT = "entrostat_want"
"""Setting of a forward pass: the statistics that it shall return besides verl's own."""

STATISTIC = "entrostat_{}"
"""Field of a statistic, by its name in `types.STATISTICS`: one number per token of prompt and response."""

TERM = "entrostat_term_{}"
"""Field, by what a term is made of (`types.term_value`): the factor on it in a token's loss, before the mean over tokens."""

REFERENCE = "entrostat_reference"
"""Field: log(p_reference / p_old) of each token, for a "k3" term."""

WEIGHT = "rollout_is_weights"
"""verl's own field: the importance weight of each token, where `algorithm.rollout_correction` asks for one."""

CLIP = "entrostat_clip"
"""Setting of an update: (eps_low, eps_high, dual clip) of the importance ratio."""

ENGINE = "entrostat.hosts.verl.engine"
"""What `actor_rollout_ref.model.external_lib` must import in the training workers."""

PREFIX = "entrostat_"
"""Before the names of verl's trainers: `trainer.v1.trainer_mode=entrostat_sync`."""
