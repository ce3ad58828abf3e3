#!/usr/bin/env bash
# EntroPIC (2511.15248) on Qwen3-8B-Base, as its paper ran it on-policy: target 0.1 nats, Kp 1, Ki 0.01, learning rate 1e-6,
# 512 prompts of 8 rollouts each, 8,192 tokens, temperature 0.6. More overrides of verl may follow on the command line.
set -euo pipefail
source "$(dirname "$0")/common.sh"

train \
  +entrostat.method.name=entropic \
  +entrostat.method.target=0.1 \
  +entrostat.method.kp=1 \
  +entrostat.method.ki=0.01 \
  actor_rollout_ref.model.path=Qwen/Qwen3-8B-Base \
  data.train_batch_size=512 \
  actor_rollout_ref.actor.ppo_mini_batch_size=512 \
  actor_rollout_ref.rollout.n=8 \
  actor_rollout_ref.rollout.temperature=0.6 \
  data.max_prompt_length=1024 \
  data.max_response_length=8192 \
  trainer.experiment_name=entropic-qwen3-8b-base \
  "$@"
