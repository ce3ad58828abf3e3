"""The keys of each quantity, as the frameworks write them. Order is preference: the first that a log holds is taken.

A line is a key and who writes it, "-" where many may; an entropy's line says too how it is computed (`records.KINDS`).
Sources: the frameworks' own code and documents, and public logs.
"""

from __future__ import annotations

ENTROPY = """
entropy_control/measured entrostat exact
token_entropy/mean entrostat exact
actor/entropy verl exact
actor/entropy_loss verl exact
entropy trl exact
policy/entropy_avg trl exact
optim/entropy tinker sampled
entropy/all/mean prime-rl exact
entropy/mean ms-swift exact
ppo_actor/update/entropy/avg areal exact
ppo_actor/entropy/avg areal exact
policy/policy_entropy skyrl exact
policy/entropy skyrl exact
approx_entropy nemo-rl sampled
train/entropy_loss slime exact
rollout/entropy slime exact
critic/entropy/mean roll exact
entropy_loss openrlhf exact
ent_loss openrlhf exact
token_entropy - unknown
mean_token_entropy - unknown
mean_entropy - unknown
policy_entropy - unknown
entropy_mean - unknown
avg_entropy - unknown
objective/entropy trl sum
"""

OTHERS = {
    "reward": """
reward trl
critic/rewards/mean verl
critic/score/mean verl
env/all/reward/total tinker
env/reward/total tinker
reward/all/mean prime-rl
reward/mean prime-rl
ppo_actor/task_reward/avg areal
ppo_actor/update/task_reward/avg areal
reward/avg_raw_reward skyrl
reward/avg_pass_at_1 skyrl
rollout/raw_reward slime
rollout/rewards slime
loss/avg_final_rewards skyrl
objective/scores trl
objective/rlhf_reward trl
objective/verifiable_reward open-instruct
accuracy nemo-rl
scores open-instruct
train_reward -
mean_reward -
reward_mean -
avg_reward -
rewards/mean -
rewards -
reward/total -
score -
train_answer_accuracy -
answer_accuracy -
success_rate -
""",
    "reward_std": """
reward_std trl
std_reward -
reward/std -
critic/rewards/std verl
reward/all/std prime-rl
""",
    "no_spread": """
frac_reward_zero_std trl
rollout/zero_std/fraction slime
env/all/by_group/frac_mixed tinker
env/by_group/frac_mixed tinker
no_spread -
frac_zero_std -
solve_all_or_none -
""",
    "kl": """
kl trl
actor/kl_loss verl
critic/kl verl
actor/reward_kl_penalty verl
optim/kl_sample_train_v1 tinker
mismatch_kl/all/mean prime-rl
mismatch_kl prime-rl
ppo_actor/update/kl/avg areal
ppo_actor/update/approx_kl/avg areal
policy/policy_kl skyrl
kl_loss slime
train/kl_loss slime
ppo_kl slime
actor/ppo_kl verl
objective/kl trl
policy/approxkl_avg trl
kl_penalty nemo-rl
approx_policy_kl torchtune
approx_kl -
reference_kl -
""",
    "length": """
completions/mean_length trl
completion_length trl
response_length/mean verl
env/all/ac_tokens_per_turn tinker
env/ac_tokens_per_turn tinker
seq_len/all/mean prime-rl
seq_len/mean prime-rl
completion_len/all/mean prime-rl
ppo_actor/seq_len/avg areal
ppo_actor/update/seq_len/avg areal
generate/avg_num_tokens skyrl
mean_gen_tokens_per_sample nemo-rl
rollout/response_lengths slime
rollout/response_len/mean slime
response_lengths slime
val/sequence_lengths open-instruct
sequence_lengths open-instruct
response_length openrlhf
avg_response_token_length -
mean_response_length -
avg_response_length -
mean_completion_length -
response_len -
avg_length -
mean_length -
""",
    "truncated": """
completions/clipped_ratio trl
response_length/clip_ratio verl
is_truncated/all/mean prime-rl
truncation_rate nemo-rl
rollout/truncated_ratio slime
truncated_rate openrlhf
""",
    "grad_norm": """
grad_norm trl
actor/grad_norm verl
optim/grad_norm prime-rl
ppo_actor/update/grad_norm areal
ppo_actor/update/grad_norm/avg areal
policy/grad_norm skyrl
policy/raw_grad_norm skyrl
actor_grad_norm openrlhf
optim/unclipped_grad_l2:mean tinker
train/grad_norm slime
l2_norm -
gradient_norm -
grad norm -
grad -
""",
    "clip_fraction": """
clip_ratio/region_mean trl
clip_ratio trl
actor/pg_clipfrac verl
policy/clipfrac_avg trl
ppo_actor/update/clip_ratio/avg areal
policy/ppo_clip_ratio skyrl
ppo_clip_ratio openrlhf
pg_clipfrac slime
train/pg_clipfrac slime
clip_fraction -
clipfrac -
""",
    "learning_rate": """
learning_rate trl
actor/lr verl
optim/lr tinker
lr -
actor_lr openrlhf
train/lr-pg_0 slime
policy/policy_lr skyrl
ppo_actor/update/lr areal
""",
    "loss": """
loss trl
actor/pg_loss verl
train/loss slime
policy_loss openrlhf
policy/policy_loss skyrl
rl_loss -
loss/all/mean prime-rl
loss/mean prime-rl
training_loss trl
pg_loss -
""",
    "evaluation": """
eval/reward -
eval_reward trl
eval/answer_accuracy -
eval_acc -
eval/accuracy -
eval/avg@1 -
val/accuracy nemo-rl
validation/accuracy nemo-rl
test/env/all/reward/total tinker
eval/greedy entrostat
""",
    "standard_error": """
token_entropy/standard_error entrostat
""",
    "surprisal": """
token_entropy/surprisal entrostat
""",
    "centered": """
token_entropy/D entrostat
""",
    "target": """
entropy_control/target entrostat
target -
target_entropy -
entropy_target -
""",
    "output": """
entropy_control/output entrostat
output -
""",
    "knob": """
entropy_control/u entrostat
entropy_control/coef entrostat
entropy_control/flow/u entrostat
entropy_control/entropic/u entrostat
entropy_control/entropy_bonus/coef entrostat
u -
coef -
entropy_coef -
actor/entropy_coeff verl
""",
    "saturated": """
entropy_control/saturated entrostat
saturated -
""",
    "integral": """
entropy_control/integral entrostat
integral -
""",
    "reachable": """
entropy_control/reachable entrostat
""",
    "identified": """
entropy_control/identified entrostat
""",
    "authority_low": """
entropy_control/authority_low entrostat
""",
    "authority_high": """
entropy_control/authority_high entrostat
""",
    "predicted": """
entropy_control/predicted entrostat
""",
    "tokens": """
token_entropy/tokens entrostat
num_tokens_step -
""",
}
