"""The runtime under every host: one controller step per optimizer step, its state file, and the one parser of settings."""
