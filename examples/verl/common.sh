# What the three runs share; each script adds its model, its method and its batch, and starts verl with both.
#
#   TRAIN and EVAL   parquet files as verl reads them (DAPO-Math-17k and AIME 2024 in the papers)
#   GPUS, NODES      GPUs per node, and nodes
#   PYTHON           interpreter of the environment that verl and entrostat are installed in
TRAIN=${TRAIN:-data/dapo-math-17k.parquet}
EVAL=${EVAL:-data/aime-2024.parquet}
TOKENS_PER_GPU=${TOKENS_PER_GPU:-20480}

COMMON=(
  data.train_files="$TRAIN"
  data.val_files="$EVAL"
  data.prompt_key=prompt
  data.truncation=left
  data.filter_overlong_prompts=True
  algorithm.adv_estimator=grpo
  algorithm.use_kl_in_reward=False
  actor_rollout_ref.actor.use_kl_loss=False
  actor_rollout_ref.actor.entropy_coeff=0
  actor_rollout_ref.actor.loss_agg_mode=token-mean
  actor_rollout_ref.actor.optim.lr=1e-6
  actor_rollout_ref.actor.strategy=fsdp2
  actor_rollout_ref.actor.use_dynamic_bsz=True
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu="$TOKENS_PER_GPU"
  actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True
  actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu="$TOKENS_PER_GPU"
  actor_rollout_ref.rollout.name=vllm
  actor_rollout_ref.rollout.gpu_memory_utilization=0.6
  actor_rollout_ref.model.use_remove_padding=True
  actor_rollout_ref.model.enable_gradient_checkpointing=True
  trainer.n_gpus_per_node="${GPUS:-8}"
  trainer.nnodes="${NODES:-1}"
  trainer.project_name=entrostat
  trainer.save_freq=20
  trainer.test_freq=10
  'trainer.logger=[console,wandb]'
)

train() { exec "${PYTHON:-python}" -m entrostat.hosts.verl "${COMMON[@]}" "$@"; }
