"""What every method does to the entropy of the tiny policy, foreseen and measured: `python benchmarks/quality/lens/tiny.py`.

The transformers model that `entrostat train` uses plays countdown with AdamW, two optimizer steps on each batch, so that every
method can act: some act on stale data alone. Every run starts from the same weights, with the same problems, and the noise of its
sampling is the same too: a token is the argmax of its logits plus that noise. At the end entropy and reward are measured on
held-out problems. What the lens foresees of each method is added up along a plain run, on both steps of every third batch.

Resumable; all runs of one seed come before those of the next, plain training first; `--foresee` looks again through a lens that
has changed. `report.py` makes the page.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import functools
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from policies import Foreseen, ready
from torch import Tensor

import entrostat as es
from entrostat.attribution.lens import rollouts_of
from entrostat.core.control import EntropyControl
from entrostat.lab import group_advantages
from entrostat.methods import Chain, names
from entrostat.methods.denominators import kept_advantages
from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks import load_task, score_all
from entrostat.types import STATISTICS, Old, TokenBatch

HERE = Path(__file__).parent
PLAIN = "observe"
PROBLEMS, GROUP, UPDATES = 6, 8, 2
LEARNING_RATE = 1.5e-4
LOOK_EVERY = 3  # batches
JUDGED, EACH = 64, 8  # held-out problems, completions of each


@dataclass(frozen=True)
class Played:
    """Completions (B, T) of problems, `group` of each, and their rewards (B,)."""

    prompts: dict[str, Tensor]
    group: int
    ids_BT: Tensor
    mask_BT: Tensor
    rewards_B: Tensor


class Player:
    """The tiny policy at its start; a prompt is read once for all of its completions."""

    def __init__(self) -> None:
        policy, self.task = load_policy("tiny"), load_task("countdown")
        self.model = policy.model
        self.tokenizer: Any = policy.tokenizer
        self.length = self.task.max_completion_tokens

    def read(self, prompts: dict[str, Tensor], group: int) -> tuple[Tensor, Any]:
        """Logits of the first token (B, 1, V), and what the model keeps of the prompts."""
        seen = self.model(**prompts, position_ids=_positions(prompts["attention_mask"]), use_cache=True)
        seen.past_key_values.batch_repeat_interleave(group)
        return seen.logits[:, -1:].repeat_interleave(group, 0), seen.past_key_values

    def go_on(self, prompts: dict[str, Tensor], group: int, ids_BT: Tensor, kept: Any) -> Tensor:
        """Logits (B, T, V) after each of these tokens, which follow those that `kept` holds."""
        attention_BP = prompts["attention_mask"].repeat_interleave(group, 0)
        past = kept.get_seq_length() - attention_BP.shape[1]
        attention_BS = torch.cat([attention_BP, torch.ones(len(ids_BT), past + ids_BT.shape[1], dtype=torch.long)], 1)
        positions_BT = _positions(attention_BS)[:, -ids_BT.shape[1] :]
        found = self.model(ids_BT, attention_mask=attention_BS, position_ids=positions_BT, past_key_values=kept)
        return found.logits

    def logits(self, played: Played) -> Tensor:
        """Logits (B, T, V) at the completions, with gradient."""
        first, kept = self.read(played.prompts, played.group)
        return torch.cat([first, self.go_on(played.prompts, played.group, played.ids_BT[:, :-1], kept)], 1)

    @torch.no_grad()
    def play(self, problems: list[Any], group: int, temperature: float | Tensor, seed: int) -> Played:
        """Sample and score."""
        encoded = self.tokenizer([each.prompt for each in problems], padding=True, return_tensors="pt")
        prompts = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        logits, kept = self.read(prompts, group)
        noise = torch.rand(len(logits), self.length, logits.shape[-1], generator=torch.Generator().manual_seed(seed))
        drawn: list[Tensor] = []
        for column in range(self.length):
            if drawn:
                logits = self.go_on(prompts, group, drawn[-1], kept)
            drawn.append((logits / temperature - (-noise[:, column : column + 1].log()).log()).argmax(-1))
        ids_BT = torch.cat(drawn, 1)
        ended_BT = ids_BT == self.tokenizer.eos_token_id
        mask_BT = ended_BT.cumsum(1) - ended_BT.long() == 0
        texts = [
            self.tokenizer.decode(row[keep], skip_special_tokens=True)
            for row, keep in zip(ids_BT, mask_BT, strict=True)
        ]
        scores = score_all(self.task, [each for each in problems for _ in range(group)], texts).values
        return Played(prompts, group, ids_BT, mask_BT, torch.tensor(scores))

    @torch.no_grad()
    def judged(self, seed: int) -> tuple[float, float]:
        """Entropy per token and reward on held-out problems."""
        played = self.play(self.task.problems("eval", JUDGED, seed), EACH, 1.0, seed)
        entropy_BT = es.token_stats(self.logits(played), played.ids_BT, want=("entropy",)).need("entropy")
        return float(entropy_BT[played.mask_BT].mean()), float(played.rewards_B.mean())


def _positions(attention_BS: Tensor) -> Tensor:
    return (attention_BS.cumsum(1) - 1).clamp_min(0)


def train(method: Chain, seed: int, steps: int, foreseen: Foreseen | None = None) -> dict[str, float]:
    """One run: entropy and reward at its end."""
    player, control = Player(), EntropyControl(method)
    optimizer = torch.optim.AdamW(player.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    chains = [method, *(foreseen.methods.values() if foreseen else ())]
    wanted = {want.of if isinstance(want, Old) else want for each in chains for want in each.requires} | set(STATISTICS)
    problems = player.task.problems("train", PROBLEMS * -(-steps // UPDATES), seed)
    groups_B = torch.arange(PROBLEMS).repeat_interleave(GROUP)
    for step in range(steps):
        fresh = step % UPDATES == 0
        if fresh:
            at, temperature = step // UPDATES * PROBLEMS, control.temperature
            factors_B = torch.tensor(control.group_temperatures(PROBLEMS)).repeat_interleave(GROUP)
            sampled_at = temperature * factors_B[:, None, None]
            played = player.play(problems[at : at + PROBLEMS], GROUP, sampled_at, 10_000 * seed + step)
        stats = es.token_stats(player.logits(played), played.ids_BT, want=wanted, temperature=temperature)
        if fresh:  # the policy that sampled is the one that is seen now
            old = stats.detach()
            advantages_B = group_advantages(played.rewards_B.view(-1, GROUP)).flatten().float()
            if "reward" in method.stages:
                sampled = TokenBatch(old, advantages_B, played.mask_BT, old.logp, played.rewards_B, groups_B)
                rollouts = rollouts_of(sampled).replace(step=step, total_steps=steps)
                advantages_B = kept_advantages(control.score(rollouts), "token")
        batch = TokenBatch(stats, advantages_B, played.mask_BT, old.logp, played.rewards_B, groups_B, old, factors_B)
        if foreseen and step // UPDATES % LOOK_EVERY == 0:
            foreseen.look(batch)
        optimizer.zero_grad()
        es.loss(control.apply(es.ppo(batch), batch), batch).backward()
        torch.nn.utils.clip_grad_norm_(player.model.parameters(), 1.0)
        optimizer.step()
        control.step(fresh=fresh)
    entropy, reward = player.judged(seed)
    return {"entropy": round(entropy, 5), "reward": round(reward, 5)}


@functools.cache
def _options() -> dict[str, int]:
    """What some methods must be told of the policy."""
    player = Player()
    return {"longest": player.length, "vocabulary": player.model.config.vocab_size}


def foresee(seed: int, steps: int, start: float, methods: list[str]) -> dict[str, Any]:
    """What the lens says of methods along the plain run."""
    foreseen = Foreseen({name: ready(name, start, **_options()) for name in methods})
    train(ready(PLAIN, start, **_options()), seed, steps, foreseen)
    return {
        name: {
            "foreseen": round(foreseen.share(name), 5),
            "turns": round(foreseen.turned[name] / foreseen.looks, 4),
        }
        for name in methods
    }


class Study:
    """The rows so far, on disk after each."""

    def __init__(self, path: Path, steps: int) -> None:
        found = json.loads(path.read_text()) if path.exists() else {}
        self.path, self.steps, here = path, steps, environment()
        self.record = {"starts": {}, "foreseen": {}, "runs": []} | found | {"environment": here, "steps": steps}
        self.commit = here["git"]

    def start(self, seed: int) -> float:
        """Entropy at the start, measured once."""
        if str(seed) not in self.record["starts"]:
            entropy, reward = Player().judged(seed)
            self.record["starts"][str(seed)] = {"entropy": round(entropy, 5), "reward": round(reward, 5)}
        return float(self.record["starts"][str(seed)]["entropy"])

    def run(self, name: str, seed: int) -> None:
        if any((row["method"], row["seed"]) == (name, seed) for row in self.record["runs"]):
            return
        start, began = self.start(seed), time.process_time()
        row = {"method": name, "seed": seed} | train(ready(name, start, **_options()), seed, self.steps)
        row |= {"cpu_seconds": round(time.process_time() - began, 1), "commit": self.commit}
        self.record["runs"].append(row)
        write_json(self.path, self.record)
        print(row, flush=True)

    def foresee(self, seed: int, methods: list[str]) -> None:
        known = self.record["foreseen"].get(str(seed), {})
        self.record["foreseen"][str(seed)] = known | foresee(seed, self.steps, self.start(seed), methods)
        write_json(self.path, self.record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--methods", nargs="*", default=names(), help="only these")
    parser.add_argument("--again", action="store_true", help="run and look anew at the methods that are named")
    parser.add_argument(
        "--foresee", action="store_true", help="look anew through the lens, for the seeds that have run"
    )
    parser.add_argument("--out", type=Path, default=HERE / "tiny.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # that a target is out of reach is a result here
    study = Study(options.out, options.steps)
    if options.again:
        study.record["runs"] = [row for row in study.record["runs"] if row["method"] not in options.methods]
    if options.foresee or options.again:
        for seed in sorted({row["seed"] for row in study.record["runs"]}):
            study.foresee(seed, options.methods)
    if options.foresee:
        return
    for seed in range(options.seeds):
        for name in dict.fromkeys([PLAIN, *options.methods]):
            study.run(name, seed)
        if str(seed) not in study.record["foreseen"]:
            study.foresee(seed, options.methods)


if __name__ == "__main__":
    main()
