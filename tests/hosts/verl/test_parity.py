"""One batch and method through TRL's trainer, verl's arithmetic and a loop of one's own: each token is pushed alike."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hosts.verl.parity_case import FILE, METHODS, STEPS, completion, method, scored, through_trl

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.hosts.verl.batch import Sessions, control_batch, score_batch
from entrostat.hosts.verl.settings import VERL
from entrostat.lab import group_advantages
from entrostat.types import Rollouts, TokenBatch, TokenStats

TOLERANCE = 1e-5
RECORDED = json.loads(FILE.read_text())
SERVED = [name for name in METHODS if not VERL.lacks(method(name)) and not method(name).sets_temperature]
every = pytest.mark.parametrize("name", METHODS)


@pytest.mark.parametrize("name", SERVED)
def test_verl_pushes_each_token_as_trl_did(name):
    case = RECORDED[name]
    stats = TokenStats(**{n: torch.tensor(v) for n, v in case["stats"].items()})
    rewards, groups, mask = (torch.tensor(case[key]) for key in ("rewards", "groups", "mask"))
    plain = torch.zeros(len(rewards))
    for group in groups.unique():
        plain[groups == group] = group_advantages(rewards[None, groups == group])[0].float()
    sessions = Sessions.of([f"prompt{group}_{row}_0" for row, group in enumerate(groups.tolist())])
    control = EntropyControl(method(name))
    for expected in map(torch.tensor, case["push"]):
        advantages = plain.unsqueeze(1).expand(mask.shape)
        batch = TokenBatch(stats, advantages, mask, rewards_B=rewards, groups_B=groups)
        if "reward" in control.method.stages:
            batch = score_batch(control, batch, sessions, "token-mean")
        update = control_batch(control, batch, "token-mean", (0.2, 0.2, 3.0))
        found = update.advantages_BT.masked_fill(~batch.mask, 0)
        assert (found - expected).abs().max() < TOLERANCE


def test_verl_serves_all_but_the_sampling_stage():
    assert {name for name in METHODS if "temperature" not in name} == set(SERVED)


@every
def test_the_record_does_something(name):
    case = RECORDED[name]
    size = group_advantages(torch.tensor([[1.0, 1.0, 0.0, 0.0]])).max().item()
    plain = (torch.tensor(case["advantages"]).sign() * size).masked_fill(~torch.tensor(case["mask"]).bool(), 0)
    moved = max((torch.tensor(push) - plain).abs().max().item() for push in case["push"])
    cooled = max(abs(t - 1) for t in case["temperatures"])
    assert moved > 0.05 or cooled > 0.05


@pytest.mark.filterwarnings("default")
@every
def test_the_record_is_trl_s(name):
    pytest.importorskip("trl", reason="runs TRL's trainer")
    now = through_trl(name)
    for key in ("push", "advantages", "mask"):
        torch.testing.assert_close(torch.tensor(now[key]), torch.tensor(RECORDED[name][key]), rtol=0, atol=TOLERANCE)
    assert now["temperatures"] == pytest.approx(RECORDED[name]["temperatures"], abs=TOLERANCE)


@pytest.mark.filterwarnings("default")
@every
def test_a_loop_of_one_s_own_pushes_each_token_as_trl_did(name):
    """Nothing of the record but what it is compared with: the loop runs the policy itself."""
    pytest.importorskip("trl", reason="takes the policy of TRL's tests")
    pushes, temperatures = through_a_loop(name)
    for found, expected in zip(pushes[1:], map(torch.tensor, RECORDED[name]["push"]), strict=True):
        assert (found - expected).abs().max() < TOLERANCE
    assert temperatures[1:] == pytest.approx(RECORDED[name]["temperatures"], abs=TOLERANCE)


def through_a_loop(name):
    """The push of each token and the temperature at every step, rows in the order of their log-probabilities."""
    logits, targets, mask, rewards = prescribed()
    groups, control = torch.arange(8) // 4, EntropyControl(method(name))
    pushes, temperatures = [], []
    for _ in range(STEPS + 1):
        temperatures.append(control.temperature)
        stats = es.token_stats(logits, targets, control.method.requires, control.temperature)
        logp = stats.need("logp").detach().requires_grad_()
        stats = replace(stats, logp=logp)
        sums = {want: stats.need(want).detach().masked_fill(~mask, 0).sum(1) for want in ("logp", "entropy")}
        plain = group_advantages(rewards.view(2, 4)).flatten().float()
        scored = control.score(Rollouts(plain, rewards, groups, mask.sum(1).float(), sums, mask))
        batch = TokenBatch(stats, scored.advantages, mask, rewards_B=rewards, groups_B=groups)
        es.loss(control.apply(es.ppo(batch), batch), batch).backward()
        control.step()
        rows = sorted(range(8), key=lambda i, values=logp: values[i].masked_fill(~mask[i], 0).tolist())
        pushes.append((-logp.grad * mask.sum()).masked_fill(~mask, 0)[rows])
    return pushes, temperatures


def prescribed():
    """Logits (8, T, V) of the policy of TRL's tests at the prescribed answers, the answers, their mask, their rewards."""
    from hosts.trl.trl_case import PROMPTS, TOKENIZER, policy

    model = policy().eval()
    texts = [(prompt, completion(i, sample)) for i, prompt in enumerate(PROMPTS[:2]) for sample in range(4)]
    answers = [[*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id] for _, text in texts]
    length = max(map(len, answers))
    mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids in answers]).bool()
    targets = torch.tensor([ids + [0] * (length - len(ids)) for ids in answers])
    logits = torch.zeros(8, length, model.config.vocab_size)
    with torch.no_grad():
        for row, ((prompt, _), ids) in enumerate(zip(texts, answers, strict=True)):
            before = TOKENIZER(prompt)["input_ids"]
            found = model(torch.tensor([before + ids])).logits[0]
            logits[row, : len(ids)] = found[len(before) - 1 : len(before) + len(ids) - 1]
    return logits, targets, mask, torch.tensor([scored(text) for _, text in texts])
