"""The runtime that every host drives: one controller step per optimizer step, its state file, and the one parser of settings."""
