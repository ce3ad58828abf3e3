"""A rollout backend for verl's server interface in pure transformers: sampling for tests, on one CPU core.

Around it everything is verl's own: agent loop, load balancer, reward loop, transfer queue, weight synchronization.
"""

from __future__ import annotations

import asyncio
import os

import ray
import torch
from verl.workers.rollout.base import _ROLLOUT_REGISTRY, BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

NAME = "transformers"
TOGETHER = 256
WAIT = 0.05  # seconds in which requests gather into one batch


class Server:
    """A Ray actor with the policy's weights; samples all waiting requests together."""

    def __init__(self, path, longest, eos, seed):
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.seed, self.longest = seed, longest
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path)).float().eval()
        self.eos, self.version = eos, None
        self.waiting, self.task = [], None

    async def load_weights(self, weights, version):
        self.model.load_state_dict(weights)
        self.version = version
        # What is sampled at a step depends on that step alone, so that a resumed run samples what the unbroken one did.
        torch.manual_seed(1_000_003 * self.seed + (version or 0))

    async def generate(self, prompt_ids, sampling_params, request_id, **_):
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((list(prompt_ids), dict(sampling_params), done))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._drain())
        return await done

    async def _drain(self):
        gathered = -1
        while len(self.waiting) > gathered:  # until no more arrive
            gathered = len(self.waiting)
            await asyncio.sleep(WAIT)
        while self.waiting:
            # In an order of their own: that of arrival differs from run to run.
            self.waiting.sort(key=lambda request: request[0])
            work, self.waiting = self.waiting[:TOGETHER], self.waiting[TOGETHER:]
            try:
                outputs = self._sample([prompt for prompt, _, _ in work], [params for _, params, _ in work])
            except Exception as error:  # to whoever waits, or the run would hang
                for _, _, done in work:
                    done.set_exception(error)
                raise
            for (_, _, done), output in zip(work, outputs, strict=True):
                done.set_result(output)
            await asyncio.sleep(0)

    @torch.no_grad()
    def _sample(self, prompts, params):
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        attention = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        positions = (attention.cumsum(-1) - 1).clamp_min(0)
        temperature = torch.tensor([float(p.get("temperature", 1.0)) for p in params])[:, None]
        most = torch.tensor([int(p.get("max_tokens") or self.longest) for p in params])
        tokens, logps = [[] for _ in prompts], [[] for _ in prompts]
        alive, cache = torch.ones(len(prompts), dtype=torch.bool), None
        while alive.any():
            output = self.model(
                input_ids=ids, attention_mask=attention, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            logp = (output.logits[:, -1].float() / temperature.clamp_min(1e-5)).log_softmax(-1)
            drawn = torch.where(temperature > 0, torch.multinomial(logp.exp(), 1), logp.argmax(-1, keepdim=True))
            for row in alive.nonzero().flatten().tolist():
                tokens[row].append(int(drawn[row]))
                logps[row].append(float(logp[row, drawn[row]]))
                alive[row] = tokens[row][-1] != self.eos and len(tokens[row]) < most[row]
            ids, positions = drawn, positions[:, -1:] + 1
            attention = torch.cat([attention, attention.new_ones(len(prompts), 1)], 1)
        return [
            TokenOutput(token_ids=t, log_probs=p, stop_reason="completed", extra_fields={"global_steps": self.version})
            for t, p in zip(tokens, logps, strict=True)
        ]

    async def set_global_steps(self, version):
        self.version = version

    async def _nothing(self, *_, **__):
        return {}

    sleep = wake_up = abort_all_requests = resume_generation = clear_kv_cache = _nothing
    release_kv_cache = resume_kv_cache = start_profile = stop_profile = wait_for_requests_to_drain = _nothing


class Replica(RolloutReplica):
    """Starts one server for each training process."""

    async def launch_servers(self):
        from transformers import AutoTokenizer

        path = self.model_config.path
        server = (
            ray.remote(Server)
            .options(name=f"{NAME}_server_{self.replica_rank}", max_concurrency=self.max_concurrency)
            .remote(
                path,
                self.config.response_length,
                AutoTokenizer.from_pretrained(path).eos_token_id,
                self.config.seed + self.replica_rank,
            )
        )
        await server.set_global_steps.remote(None)
        self.servers, self._server_handle, self._server_address = [server], server, f"{NAME}:{self.replica_rank}"


class Adapter(BaseRollout):
    """Lives in the training worker and sends its weights to the server."""

    async def resume(self, tags):
        pass

    async def release(self):
        pass

    async def update_weights(self, weights, global_steps=None, **_):
        from verl.workers.rollout.utils import ensure_async_iterator

        # Gathering a sharded weight is collective, so every rank walks through all of them.
        full = {name: value.detach().cpu().clone() async for name, value in ensure_async_iterator(weights)}
        await ray.get_actor(f"{NAME}_server_{os.environ['RANK']}").load_weights.remote(full, global_steps)


_ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.Adapter"
RolloutReplicaRegistry.register(NAME, lambda: Replica)
