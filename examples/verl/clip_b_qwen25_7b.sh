#!/usr/bin/env bash
# Clip_B (2602.03392) on Qwen2.5-7B-Instruct, as its paper ran it: mu 2.5, learning rate 1e-6, 64 prompts of 16 rollouts each,
# answers of up to 7,168 tokens. The paper kept prompts whose pass rate before training was between 1/16 and 15/16: filter yours.
# More overrides of verl may follow on the command line.
set -euo pipefail
source "$(dirname "$0")/common.sh"

train \
  +entrostat.method.name=clip_b \
  +entrostat.method.mu=2.5 \
  actor_rollout_ref.model.path=Qwen/Qwen2.5-7B-Instruct \
  data.train_batch_size=64 \
  actor_rollout_ref.actor.ppo_mini_batch_size=64 \
  actor_rollout_ref.rollout.n=16 \
  data.max_prompt_length=1024 \
  data.max_response_length=7168 \
  trainer.experiment_name=clip_b-qwen2.5-7b-instruct \
  "$@"
