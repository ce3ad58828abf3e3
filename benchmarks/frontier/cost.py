"""What an actuator costs to first order, in the parameters: `python benchmarks/frontier/cost.py`, writes cost.json.

At one policy, the direction in which an actuator changes the update is the difference between the loss's gradient with
it and without, divided as AdamW divides: by the root of the mean square of plain GRPO's gradients. Along it, the change
of entropy and of expected reward are inner products with their own gradients, estimated on other batches. Their ratio is
what one nat costs; the change per unit of step length is how much room the actuator takes in the optimizer's step.

Plain GRPO itself earns reward by lowering the entropy. An actuator that undoes its change of entropy leaves the share
`kept` of its gain, before the optimizer's noise and whatever many steps do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import entrostat as es
from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks import load_task
from entrostat.tasks.sampling import sample
from entrostat.types import TokenBatch

HERE = Path(__file__).parent
PROMPTS, SAMPLES = 32, 8
ACTING, JUDGING = 4, 8  # batches for the directions, and others for the gradients of entropy and reward
SMALL = 1e-3  # an output: no weight is clipped
ACTUATORS: dict[str, dict[str, Any]] = {
    "flow": {"name": "flow", "shape": "flow"},
    "sign of D": {"name": "flow", "shape": "sign"},
    "cost-weighted flow": {"name": "flow", "shape": "cost"},
    "entropy bonus": {"name": "entropy_bonus"},
}


def method(actuator: str) -> Any:
    """The actuator at a small output that raises the entropy."""
    options = dict(ACTUATORS[actuator])
    name = options.pop("name")
    if name == "entropy_bonus":
        return es.make(name, coef=SMALL)
    return es.make(name, target=None, controller=-SMALL, scope="micro", **options)


class Batch:
    """Completions of some problems with their statistics, and gradients of what is made of them."""

    def __init__(self, policy: Any, task: Any, problems: list[Any]) -> None:
        self.parameters = list(policy.model.parameters())
        rows = [problem for problem in problems for _ in range(SAMPLES)]
        drawn = sample(
            policy.model, policy.tokenizer, [p.prompt for p in rows], max_new_tokens=task.max_completion_tokens
        )
        reward = torch.tensor([task.score(p, text) for p, text in zip(rows, drawn.texts, strict=True)])
        groups = reward.view(-1, SAMPLES)
        centred = groups - groups.mean(1, keepdim=True)
        self.reward_B = centred.flatten() * SAMPLES / (SAMPLES - 1)  # against the mean of the others
        advantages_B = (centred / (groups.std(1, keepdim=True) + 1e-4)).flatten()
        logits = policy.model(input_ids=drawn.ids_BS, attention_mask=drawn.attention_BS.long()).logits
        logits_BTV = logits[:, drawn.prompt_length - 1 : -1].float()
        want = ("logp", "entropy", "baseline", "collision")
        stats = es.token_stats(logits_BTV, drawn.ids_BS[:, drawn.prompt_length :], want)
        self.logp_sq_BT = (lambda p: (p.exp() * p.square()).sum(-1))(logits_BTV.detach().log_softmax(-1))
        self.batch = TokenBatch(stats, advantages_B, drawn.mask_BT)

    def gradient(self, value: Tensor) -> Tensor:
        parts = torch.autograd.grad(value, self.parameters, retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    def ascent(self, chain: Any) -> Tensor:
        """What plain gradient descent on the loss under a method would add to the parameters, per unit of rate."""
        surrogate = chain.apply(es.ppo(self.batch), self.batch, chain.init())
        return -self.gradient(es.loss(surrogate, self.batch))

    def of_entropy(self) -> Tensor:
        mask = self.batch.mask
        return self.gradient(self.batch.stats.need("entropy")[mask].mean())

    def of_reward(self) -> Tensor:
        logp = self.batch.stats.need("logp").masked_fill(~self.batch.mask, 0).sum(1)
        return self.gradient((self.reward_B * logp).mean())

    def along_temperature(self) -> tuple[float, float]:
        """Change of reward and of entropy per unit of log T: of the score -(log p_k + H), and the variance of log p."""
        stats, mask = self.batch.stats.detach(), self.batch.mask
        entropy = stats.need("entropy")
        score = -(stats.need("logp") + entropy).masked_fill(~mask, 0).sum(1)
        heat = (self.logp_sq_BT - entropy.square())[mask].mean()
        return float((self.reward_B * score).mean()), float(heat)


def costs(policy: Any, seed: int = 0) -> dict[str, Any]:
    """The figures of every actuator at one policy."""
    torch.manual_seed(seed)
    task = load_task("countdown")
    problems = task.problems("train", PROMPTS * (ACTING + JUDGING), seed)
    plain, entropy, reward, square = (0.0,) * 4
    directions: dict[str, Any] = dict.fromkeys(ACTUATORS, 0.0)
    tempered: list[tuple[float, float]] = []
    for number in range(ACTING + JUDGING):
        batch = Batch(policy, task, problems[PROMPTS * number : PROMPTS * (number + 1)])
        own = batch.ascent(es.observe())
        square = square + own.square() / (ACTING + JUDGING)
        if number < ACTING:
            plain = plain + own / ACTING
            for name in ACTUATORS:
                directions[name] = directions[name] + (batch.ascent(method(name)) - own) / (ACTING * SMALL)
        else:
            entropy = entropy + batch.of_entropy() / JUDGING
            reward = reward + batch.of_reward() / JUDGING
            tempered.append(batch.along_temperature())
    divided = 1 / (torch.as_tensor(square).sqrt() + 1e-8)

    def along(direction: Any) -> dict[str, float]:
        step = divided * direction
        length = float((direction @ step).sqrt())
        return {"reward": float(reward @ step) / length, "entropy": float(entropy @ step) / length}

    found = {"plain GRPO": along(plain)} | {name: along(direction) for name, direction in directions.items()}
    share = [sum(values) / JUDGING for values in zip(*tempered, strict=True)]
    found["temperature"] = {"reward": share[0], "entropy": share[1]}
    gain = found["plain GRPO"]
    for name, own in found.items():
        own["reward_per_nat"] = own["reward"] / own["entropy"]
        if name != "plain GRPO":
            own["kept"] = 1 - own["reward_per_nat"] * gain["entropy"] / gain["reward"]
    return found


def main() -> None:
    torch.set_num_threads(1)
    record = {str(seed): costs(load_policy("tiny"), seed) for seed in range(3)}
    write_json(HERE / "cost.json", {"environment": environment(), "seeds": record})
    for seed, found in record.items():
        print(seed, json.dumps({k: {n: round(v, 4) for n, v in own.items()} for k, own in found.items()}))


if __name__ == "__main__":
    main()
