"""verl: entropy control on the exact global batch, in verl's own trainers, with nothing of verl edited.

| file | where it runs | what it does |
| --- | --- | --- |
| `plugin` | every process that imports verl | registers the trainers once verl's own are there |
| `__main__` | launcher | `python -m entrostat.hosts.verl`, verl's main with all of its overrides |
| `settings` | launcher, driver | reads `+entrostat.*`, refuses what control cannot work beside |
| `loss_modes` | launcher, driver | what of a method each of verl's policy losses carries out |
| `trainer` | driver | one controller step per batch, advantages, metrics, checkpoints |
| `batch` | driver | the arithmetic, on plain tensors |
| `engine`, `fused_head`, `megatron` | training workers | exact statistics from the forward pass that happens anyway |
| `loss` | training workers | clip ranges and added terms, where a method needs them |

Importing this package imports nothing else: verl loads it in every process.
"""
