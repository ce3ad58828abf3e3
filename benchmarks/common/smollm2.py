"""How the studies under control train SmolLM2-135M-Instruct: one-digit sums, as `examples/smollm2.yaml` has them."""

import json

TASK = (
    "rg:chain_sum",
    {
        "template": "{question}",
        "min_terms": 2,
        "max_terms": 2,
        "min_digits": 1,
        "max_digits": 1,
        "temperature": 1.0,
        "max_completion_tokens": 3,
    },
)
# Sums without worked examples in the prompt, which would be nine tenths of all tokens. Every step takes the same 16 problems:
# the noise of a batch's entropy is then all from sampling. Longer answers add noise and cost, no signal.
SMOLLM2 = (
    "model=smollm2",
    f"task={json.dumps({'name': TASK[0], **TASK[1]})}",
    "train_problems=16",
    "threads=1",
    "steps=75",
    "trainer.learning_rate=1e-6",
    "trainer.per_device_train_batch_size=64",
    "trainer.num_generations=4",
    "trainer.save_steps=1000",
    "eval={every: 0, problems: 64, samples: 8, ks: [1, 8], batch_size: 64}",
)
