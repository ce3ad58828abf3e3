"""A stand-in for vLLM that runs on a CPU: TRL's own code for it, colocated and as a server over HTTP, with another engine behind.

The engine holds a policy of its own, takes weights when TRL sends them, samples in vLLM's order (temperature, min-p, top-k,
top-p), and answers with the log-probabilities of what it sampled from. It writes down the entropy of every distribution that
it drew from, in fp64, and what it was asked. Weights travel over NCCL in vLLM, which needs a GPU: here they are handed over.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import torch
from hosts.trl.trl_case import TOKENIZER, policy
from trl.generation import vllm_client, vllm_generation


@dataclass
class SamplingParams:
    """What vLLM is asked for; it knows no other names."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 16
    logprobs: int | None = None


@dataclass
class Engine:
    """Samples from its own copy of the policy.

    Args:
        skewed: by how much its logits differ from the policy's, in standard deviations of fixed noise; as kernels of lower
            precision do. cooled: samples at this many times the temperature that it is asked for, and does not say so.
    """

    skewed: float = 0.0
    cooled: float = 1.0
    model: Any = field(default_factory=policy)
    asked: list[SamplingParams] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)  # mean over the tokens of each call
    synchronized: int = 0

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(5)
        self.noise = torch.randn(len(TOKENIZER), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
        self.model.requires_grad_(False)
        self.weights = dict(self.model.named_parameters())

    def load_weights(self, named: Any) -> None:
        for name, value in named:
            self.weights[name].copy_(value)
            self.synchronized += name == "lm_head.weight"

    def generate(self, prompts: list[list[int]], params: SamplingParams) -> list[list[tuple[list[int], list[float]]]]:
        """For each prompt `n` completions: their tokens and log-probabilities."""
        self.asked.append(params)
        seen: list[float] = []
        found = [[self._complete(ids, params, seen) for _ in range(params.n)] for ids in prompts]
        self.entropies.append(sum(seen) / len(seen))
        return found

    def _complete(self, ids: list[int], params: SamplingParams, seen: list[float]) -> tuple[list[int], list[float]]:
        tokens: list[int] = []
        logps: list[float] = []
        while len(tokens) < params.max_tokens and TOKENIZER.eos_token_id not in tokens:
            logits = self.model(input_ids=torch.tensor([ids + tokens])).logits[0, -1].double()
            logp = self._acting(logits + self.skewed * self.noise, params)
            probs = logp.exp()
            seen.append(-(probs * logp.masked_fill(probs == 0, 0)).sum().item())
            tokens.append(int(torch.multinomial(probs, 1, generator=self.generator)))
            logps.append(logp[tokens[-1]].item())
        return tokens, logps

    def _acting(self, logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
        logp = (logits / (params.temperature * self.cooled)).log_softmax(-1)
        keep = logp.exp() >= params.min_p * logp.exp().max()
        if params.top_k > 0:
            keep &= logp >= logp.topk(params.top_k).values[-1]
        if params.top_p < 1:
            ranked = logp.masked_fill(~keep, -torch.inf).softmax(-1).sort(descending=True)
            before = ranked.values.cumsum(-1) - ranked.values
            keep &= torch.zeros_like(keep).scatter(0, ranked.indices[before < params.top_p], True)
        return logp.masked_fill(~keep, -torch.inf).log_softmax(-1)


@contextmanager
def standing_in(monkeypatch: Any, mode: str, engine: Engine) -> Iterator[dict[str, Any]]:
    """Put the engine where TRL looks for vLLM; gives the trainer's settings."""
    monkeypatch.setattr(vllm_generation, "is_vllm_available", lambda *_: True)
    if mode == "colocate":
        monkeypatch.setattr(vllm_generation, "SamplingParams", SamplingParams, raising=False)
        monkeypatch.setattr(vllm_generation, "LLM", lambda **_: _Colocated(engine), raising=False)
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.setenv(name, "0")  # TRL sets them for vLLM: to be set back
            monkeypatch.delenv(name)
        yield {"use_vllm": True, "vllm_mode": "colocate"}
        return
    monkeypatch.setattr(vllm_client, "is_vllm_available", lambda *_: True)
    monkeypatch.setattr(vllm_client, "_HAS_RESET_PREFIX_CACHE_SUCCESS", True)
    monkeypatch.setattr(vllm_generation, "VLLMClient", _client(engine))
    with _serving(engine) as url:
        yield {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": url}


class _Colocated:
    """vLLM's `LLM`, as far as TRL uses it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        runner = SimpleNamespace(model=engine)
        worker = SimpleNamespace(model_runner=runner)
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))

    def reset_prefix_cache(self) -> None:
        pass

    def generate(self, prompts: list[dict[str, Any]], sampling_params: SamplingParams, use_tqdm: bool) -> list[Any]:
        ids = [each["prompt_token_ids"] for each in prompts]
        return [
            SimpleNamespace(
                prompt_token_ids=prompt,
                outputs=[
                    SimpleNamespace(
                        token_ids=tokens,
                        logprobs=[{t: SimpleNamespace(logprob=p, rank=1)} for t, p in zip(tokens, logps, strict=True)],
                    )
                    for tokens, logps in completions
                ],
            )
            for prompt, completions in zip(ids, self.engine.generate(ids, sampling_params), strict=True)
        ]


def _client(engine: Engine) -> type:
    class Client(vllm_client.VLLMClient):
        """TRL's client, but for NCCL."""

        def init_communicator(self, device: Any = 0) -> None:
            assert self.get_server_info()["weight_transfer_config"]

        def update_named_params(self, metadata: Any, named_params: Any) -> None:
            engine.load_weights(named_params)

    return Client


@contextmanager
def _serving(engine: Engine) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(engine: Engine) -> type:
    answers: dict[str, Callable[[], Any]] = {
        "/health": dict,
        "/v1/models": lambda: {"data": [{"id": "stand-in"}]},
        "/server_info": lambda: {
            "vllm_config": {
                "weight_transfer_config": {"backend": "nccl"},
                "model_config": {"logprobs_mode": "processed_logprobs"},
            }
        },
    }

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._say(answers[self.path.partition("?")[0]]())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            self._say({"success": True} if self.path == "/reset_prefix_cache" else _completions(engine, body))

        def _say(self, value: Any) -> None:
            text = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


def _completions(engine: Engine, body: dict[str, Any]) -> dict[str, Any]:
    """`/v1/completions`: the choices of the first prompt, then those of the next."""
    of_protocol = {"model", "prompt", "return_token_ids", "return_tokens_as_token_ids"}
    params = SamplingParams(**{name: value for name, value in body.items() if name not in of_protocol})
    found = engine.generate(body["prompt"], params)
    return {
        "choices": [
            {
                "prompt_token_ids": prompt,
                "token_ids": tokens,
                "logprobs": {
                    "tokens": [f"token_id:{token}" for token in tokens],
                    "token_logprobs": logps,
                    "top_logprobs": [{f"token_id:{t}": p} for t, p in zip(tokens, logps, strict=True)],
                },
            }
            for prompt, completions in zip(body["prompt"], found, strict=True)
            for tokens, logps in completions
        ]
    }
