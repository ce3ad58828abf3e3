"""Whatever is wrong, a person reads one sentence, and nothing in it acts on the terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli.test_main import call
from ranks import in_a_process
from run.small_run import SMALL, THIRD_PARTY

from entrostat.__main__ import main
from entrostat.cli import _text, env
from entrostat.cli._progress import Plain
from entrostat.cli._text import Forgiving, console, shown

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "train --steps 5",
            "error: --steps: there is no such option: a setting is written without dashes, as steps=VALUE",
        ),
        ("train --method.target=0.3", "as method.target=VALUE"),
        ("compare --steps 5", "as steps=VALUE"),
        ("tune --probe --learning-rate 1", "as learning_rate=VALUE"),
        (
            "compare --seed 3",
            "error: --seed: there is no such option (did you mean '--seeds'?): `entrostat compare --help` ",
        ),
        (
            "diagnose log.csv --steps 3",
            "error: --steps: there is no such option: `entrostat diagnose --help` lists all",
        ),
    ],
)
def test_a_setting_with_dashes_is_told_how_it_is_written(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("compare --seeds x", r"--seeds: .*, got 'x'; `entrostat compare --help` shows what it takes"),
        ("compare --seeds=0", r"--seeds: .*, got '0'; `entrostat compare --help` shows what it takes"),
        ("tune --settling x", r"--settling: .*, got 'x'; `entrostat tune --help` shows what it takes"),
        ("watch a --port 99999999", r"--port: .*, got '99999999'; `entrostat watch --help` shows what it takes"),
        ("diagnose", r"PATH\.\.\.: is missing: give it, as in `entrostat diagnose runs/first`"),
        ("watch", r"PATH: is missing: give it, as in `entrostat watch runs/first`"),
        ("report --out", r"--out: its value is missing: give one, or leave it out"),
        ("diagnose a --json=3", r"--json: takes no value, got '3': write --json alone"),
        ("env extra", r".*\bextra\b.*: `entrostat env --help` shows what there is"),
        ("nosuch", r"nosuch: there is no such command: `entrostat --help` lists all"),
        ("tran", r"tran: there is no such command \(did you mean 'train'\?\): `entrostat --help` lists all"),
        ("--nosuch", r"--nosuch: there is no such option: `entrostat --help` lists all"),
    ],
)
def test_words_that_a_command_cannot_take(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words.split()) == 2
    assert re.fullmatch(f"error: {message}\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=4294967296", "seed: "),
        ("steps=12:30:45", "steps: "),
        ("trainer.temperature=0", "trainer.temperature: must be 0.001 or more, got 0"),
        ("trainer.num_generations=0", "trainer.num_generations: "),
        ("trainer.num_generations=1", "trainer.num_generations: "),
        ("trainer.loss_type=x", "trainer.loss_type: TRL has no 'x'"),
        ("trainer.min_p=2", "trainer.min_p: "),
        ("trainer.report_to=nonsense", "trainer.report_to: "),
        ("trainer.learning_rate=-1", "trainer.learning_rate: must be 0 or more, got -1"),
        ("trainer.learning_rate=.nan", "trainer.learning_rate: must be a finite number"),
        ("trainer.use_vllm=true", "trainer.use_vllm: vllm is not installed"),
        ("trainer.entropy_coef=0.1", "trainer.entropy_coef: "),
        (
            "trainer.save_only_model=true",
            "trainer.save_only_model: is set by the run: a run could then not go on exactly",
        ),
        ("trainer.save_strategy=no", "trainer.save_strategy: "),
        ("trainer.per_device_train_batch_size=1000000000000", "trainer.per_device_train_batch_size: must be at most"),
        ("steps=2000000000", "steps: "),
        ("eval.problems=2000000000", "eval.problems: "),
        ("trainer.optim_args=x", "trainer.optim_args: transformers can make nothing of 'x': "),
        ("trainer.optim=adamw_bnb_8bit", "trainer.optim: transformers can make nothing of 'adamw_bnb_8bit': "),
        (
            "trainer.lr_scheduler_type=cosine_with_min_lr",
            "trainer.lr_scheduler_type: transformers can make nothing of 'cosine_with_min_lr': ",
        ),
        ("trainer.lr_scheduler_kwargs={nothing: 1}", "trainer.lr_scheduler_kwargs: "),
        (
            "trainer.generation_kwargs={temperature: 0}",
            "trainer.generation_kwargs: temperature: must be 0.001 or more, got 0",
        ),
        (
            "trainer.generation_kwargs={num_return_sequences: 3}",
            "trainer.generation_kwargs: num_return_sequences must be 1, got 3",
        ),
        (
            "trainer.generation_kwargs={top_q: 3}",
            "trainer.generation_kwargs: transformers has no setting 'top_q' (did you mean",
        ),
        ("trainer.generation_kwargs={max_new_tokens: -1}", "trainer.generation_kwargs: "),
        ("trainer.cache_implementation=x", "trainer.cache_implementation: transformers has no cache 'x'"),
        ("trainer.scale_rewards=x", "trainer.scale_rewards: TRL has no 'x'"),
        ("trainer.importance_sampling_level=tokens", "trainer.importance_sampling_level: TRL has no 'tokens' "),
        ("trainer.multi_objective_aggregation=x", "trainer.multi_objective_aggregation: TRL has no 'x'"),
        ("trainer.reward_weights=[]", "trainer.reward_weights: a run has one reward, so one weight; got 0"),
        ("trainer.dataloader_num_workers=-1", "trainer.dataloader_num_workers: must be 0 or more, got -1"),
        ("trainer.remove_unused_columns=true", "trainer.remove_unused_columns: must be false"),
        ("trainer.pad_to_multiple_of=0", "trainer.pad_to_multiple_of: must be 1 or more, got 0"),
        ("trainer.neftune_noise_alpha=-1", "trainer.neftune_noise_alpha: must be 0 or more, got -1"),
        ("trainer.sync_ref_model=true", "trainer.sync_ref_model: there is no reference policy"),
        ("trainer.include_num_input_tokens_seen=true", "trainer.include_num_input_tokens_seen: leave it out"),
        ("trainer.optim_args=foo=3", "trainer.optim_args: the optimizer 'adamw_torch_fused' does not read 'foo': "),
        ("trainer={optim: sgd, optim_args: 'a=3'}", "trainer.optim_args: the optimizer 'sgd' does not read 'a': "),
        ("trainer={optim: sgd, optim_args: 'momentum=nan'}", "trainer.optim_args: momentum must be a finite number"),
        ("trainer={optim: sgd, optim_args: 'momentum=0.9,momentum=0.8'}", "trainer.optim_args: a key is given twice"),
        ("trainer={optim: sgd, optim_args: 'weight_decay=0.1'}", "trainer.optim_args: weight_decay has no effect"),
        ("trainer={optim: sgd, adam_beta1: 0.5}", "trainer.adam_beta1: the optimizer 'sgd' does not read it"),
        ("trainer.optim_target_modules=all-linear", "trainer.optim_target_modules: the optimizer "),
        ("trainer.warmup_steps=10", "trainer.warmup_steps: a constant learning rate has none, got 10"),
        (
            "trainer={lr_scheduler_type: constant_with_warmup, lr_scheduler_kwargs: {a: 1}}",
            "trainer.lr_scheduler_kwargs: a constant learning rate takes none",
        ),
        (
            "trainer.generation_kwargs={max_new_tokens: 3}",
            "trainer.generation_kwargs: max_new_tokens: use trainer.max_",
        ),
        ("trainer.generation_kwargs={eos_token_id: 9}", "trainer.generation_kwargs: eos_token_id: the policy's tok"),
        ("trainer.generation_kwargs={stop_strings: [x]}", "trainer.generation_kwargs: stop_strings: "),
        ("trainer.generation_kwargs={return_dict_in_generate: true}", "trainer.generation_kwargs: return_dict_in_gen"),
        ("trainer.generation_kwargs={do_sample: false}", "trainer.generation_kwargs: tokens are sampled with do_samp"),
        ("trainer.generation_kwargs={suppress_tokens: [21]}", "trainer.generation_kwargs: suppress_tokens: "),
        ("trainer.generation_kwargs={suppress_tokens: [-1]}", "trainer.generation_kwargs: suppress_tokens: "),
        ("trainer.generation_kwargs={suppress_tokens: x}", "trainer.generation_kwargs: suppress_tokens: "),
        (
            "trainer.repetition_penalty=1.1",
            "trainer.repetition_penalty: tokens are sampled with repetition_penalty=1.1",
        ),
        ("trainer.model_init_kwargs={foo: 1}", "trainer.model_init_kwargs: has no effect: a run loads its policy"),
        ("trainer.chat_template_kwargs={foo: 1}", "trainer.chat_template_kwargs: has no effect: "),
        ("trainer.fsdp_config={foo: 1}", "trainer.fsdp_config: has no effect in one process"),
        ("trainer.accelerator_config={foo: 1}", "trainer: AcceleratorConfig"),
        ("trainer.accelerator_config=/no-such/policy.json", "trainer.accelerator_config: "),
        ("trainer.lr_scheduler_type=nonsense", "trainer.lr_scheduler_type: nonsense is not a valid"),
        (
            "trainer.activation_checkpointing_kwargs={foo: 1}",
            "trainer.activation_checkpointing_kwargs: torch has no arg",
        ),
        (
            "trainer.activation_checkpointing_kwargs={use_reentrant: false}",
            "trainer.activation_checkpointing_kwargs: has no effect without trainer.activation_checkpointing",
        ),
        ("trainer.vllm_mode=server", "trainer.vllm_mode: has no effect without trainer.use_vllm"),
        ("trainer.sapo_temperature_neg=2.0", "trainer.sapo_temperature_neg: has no effect with trainer.loss_type=dapo"),
        ("trainer={loss_type: sapo, epsilon: 0.1}", "trainer.epsilon: has no effect with trainer.loss_type=sapo"),
        (
            "trainer={lr_scheduler_type: cosine, lr_scheduler_kwargs: {num_cycles: .nan}}",
            "trainer.lr_scheduler_kwargs: must be a finite number, got nan",
        ),
        ("trainer={loss_type: cispo, delta: 3.0}", "trainer.delta: has no effect with trainer.loss_type=cispo"),
        ("task={name: countdown, high: 1000000000000}", "task: Countdown"),
        ("trainer.eval_steps=5", "trainer.eval_steps: has no effect: a run evaluates by the settings under eval"),
        ("method.target=9", "method.target: target entropy 9.0 is above log V"),
        ("task={name: rg:chain_sum}", "model: 'tiny' reads only its own alphabet"),
        ("model=${oc.env:HOME}", "model: "),
        ("model=/no-such/policy", "model: no policy is called '/no-such/policy'; use 'tiny'"),
        ("model=/", "model: the folder '/' holds no whole model: it has no config.json; use 'tiny'"),
        ("model=''", "model: no policy is called ''"),
        ("model='a\\0b'", "model: no policy is called"),
        ("threads=4096", "threads: this machine has "),
        ("trainer.dataloader_num_workers=100000", "trainer.dataloader_num_workers: this machine has "),
        ("{algorithm: rloo, trainer: {reward_clip_range: [1, -1]}}", "trainer.reward_clip_range: must be [lowest, "),
        ("{algorithm: rloo, trainer: {reward_clip_range: [.nan, 1]}}", "trainer.reward_clip_range: must be a finite"),
        ("{algorithm: rloo, trainer: {reward_clip_range: [1]}}", "trainer.reward_clip_range: field required"),
        ("trainer.weight_decay=1e9", "trainer.weight_decay: each step multiplies the weights by 1 - learning_rate * "),
        ("trainer.learning_rate=1e9", "trainer.learning_rate: must be at most 10, got 1000000000.0"),
        ("trainer.temperature=1e9", "trainer.temperature: must be at most 100"),
        ("trainer.temperature=1e-9", "trainer.temperature: must be 0.001 or more"),
        ("trainer.per_device_train_batch_size=2000000", "trainer.per_device_train_batch_size: must be at most 65,536"),
        ("trainer.gradient_accumulation_steps=2000000", "trainer.gradient_accumulation_steps: must be at most 65,536"),
        ("trainer.pad_to_multiple_of=100000000", "trainer.pad_to_multiple_of: must be at most 65,536"),
        (
            "trainer.max_completion_length=257",
            "trainer.max_completion_length: must be at most 256, the context of 'tiny'",
        ),
        (
            "trainer={lr_scheduler_type: linear, warmup_steps: 101}",
            "trainer.warmup_steps: the run ends after 100 steps",
        ),
        ("trainer.delta=1.1", "trainer.delta: bounds the importance ratio above the clip at 1 + epsilon = 1.2"),
        ("trainer.reward_weights=[.nan]", "trainer.reward_weights: must be a finite number, got nan"),
        (
            "{method: psr, trainer: {scale_rewards: batch}}",
            "trainer.scale_rewards='batch' would have no effect: 'psr' builds its advantages from the raw rewards",
        ),
        ("trainer.torch_compile_backend=nonsense", "trainer.torch_compile_backend: torch has no compiler 'nonsense'"),
        ("trainer.torch_compile_mode=nonsense", "trainer.torch_compile_mode: TRL has no 'nonsense'"),
        ("trainer.torch_compile=true", "trainer.torch_compile: on a CPU the compiler takes longer than the steps"),
        (
            "trainer={optim: rmsprop, optim_args: 'alpha=7'}",
            "trainer.optim_args: with 'alpha=7' the optimizer 'rmsprop' div",
        ),
        (
            "trainer={optim: rmsprop, optim_args: 'eps=1e9'}",
            "trainer.optim_args: with 'eps=1e9' the optimizer 'rmsprop' sta",
        ),
        (
            "trainer={optim: sgd, optim_args: 'momentum=5'}",
            "trainer.optim_args: with 'momentum=5' the optimizer 'sgd' div",
        ),
        (
            "{method: {name: clip_higher}, trainer: {epsilon_high: 0.3}}",
            "trainer.epsilon_high=0.3 would have no effect: 'clip_range' sets that end of the clip range itself, to 0.28. ",
        ),
        (
            "{method: {name: kl_cov}, trainer: {delta: 3.0}}",
            "trainer.delta=3.0 would have no effect: 'kl_cov' sets that",
        ),
        ("{method: {name: dcpo, target: 5}}", "method.target: target entropy 5.0 is above log V"),
        (
            "{method: {name: temperature, target: 0.3, rate: 1.0e9}}",
            "method.rate: temperature.rate must be at most 1,000,",
        ),
        ("trainer.epsilon=1e9", "trainer.epsilon: must be at most 1, got"),
        ("trainer.run_name=x", "trainer.run_name: has no effect without trainer.report_to=wandb"),
        ("trainer.trackio_space_id=x", "trainer.trackio_space_id: has no effect without trainer.report_to=trackio"),
        ("trainer.ddp_backend=nonsense", "trainer.ddp_backend: has no effect in one process"),
        ("trainer.fsdp=full_shard", "trainer.fsdp: has no effect in one process"),
        ("trainer.local_rank=3", "trainer.local_rank: has no effect in one process"),
        ("trainer.num_completions_to_print=3", "trainer.num_completions_to_print: has no effect without trainer.log_c"),
        ("trainer.vllm_importance_sampling_mode=x", "trainer.vllm_importance_sampling_mode: TRL has no 'x'"),
        ("trainer.generation_kwargs={length_penalty: 3.0}", "trainer.generation_kwargs: length_penalty: it is of beam"),
        ("trainer.generation_kwargs={num_assistant_tokens: 3}", "trainer.generation_kwargs: num_assistant_tokens: it"),
    ],
)
def test_what_would_fail_later_is_refused_by_a_dry_run(
    word: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if word.startswith("{"):
        (tmp_path / "run.yaml").write_text(word)
        word = str(tmp_path / "run.yaml")
    assert call("train", word, "--dry-run") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}") and said.count("\n") == 1


@pytest.mark.parametrize(
    "word",
    [
        "trainer={optim: sgd, optim_args: 'momentum=0.9, nesterov=true'}",
        "trainer={optim: rmsprop, optim_args: 'alpha=0.99'}",  # which is its default
        "method={name: clip_higher} | trainer={epsilon_high: 0.28, epsilon: 0.2}",  # what the method says, too
        "method={name: clip_higher, eps_low: null} | trainer={epsilon: 0.1}",  # the host's lower end stays
        "trainer={optim: sgd, adam_beta1: 0.9, vllm_mode: colocate}",  # as nobody had set them
        "trainer={adam_beta1: 0.5, adam_epsilon: 1e-6, weight_decay: 0.1}",
        "trainer={lr_scheduler_type: constant_with_warmup, warmup_steps: 3}",
        "trainer={lr_scheduler_type: polynomial, lr_scheduler_kwargs: {lr_end: 1e-7}}",
        "trainer={loss_type: sapo, sapo_temperature_neg: 2.0}",
        "trainer={activation_checkpointing: true, activation_checkpointing_kwargs: {use_reentrant: false}}",
        "trainer.generation_kwargs={top_k: 5, suppress_tokens: [3]}",
        "trainer={weight_decay: 0.1, delta: 2.0, max_completion_length: 128, torch_compile_backend: eager}",
        "model=owner/name",
    ],
)
def test_what_is_read_is_taken(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", *word.split(" | "), "--dry-run") == 0, capsys.readouterr().err


def test_a_clip_of_the_reward_is_read_from_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "algorithm=rloo", "trainer.reward_clip_range=[-1, 0.5]", "--dry-run") == 0, capsys.readouterr()
    assert "reward_clip_range:\n  - -1\n  - 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [("train", "--out", ""), ("train", "--out="), ("simulate", "--out", " "), ("train", "")]
)
def test_an_empty_word_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words) == 2
    assert "is empty" in capsys.readouterr().err


def test_a_file_of_letters_names_a_model_that_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "task.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"What is {i}?", "answer": str(i)}) + "\n" for i in range(30)))
    assert call("train", f"task={file}", "--dry-run") == 2
    said = capsys.readouterr().err
    assert "reads only its own alphabet" in said and "model=smollm2" in said


def test_the_length_that_a_file_suggests_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"{i}+1=", "answer": str(i + 1)}) + "\n" for i in range(30)))
    assert call("train", f"task={file}", "--dry-run") == 0, capsys.readouterr().err


def test_an_error_that_nobody_foresaw_is_a_sentence_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import entrostat.run.environment as environment

    def broken() -> None:
        raise ZeroDivisionError("by the\nmoon")

    monkeypatch.setattr(environment, "environment", broken)
    assert env.command.__module__ == "entrostat.cli.env"
    assert call("env") == 70
    said = capsys.readouterr().err
    assert (
        said.startswith("error: this should not happen: ZeroDivisionError: by the moon. The traceback is in ")
        and said.count("\n") == 1
    )
    path = Path(said.split("The traceback is in ")[1].split(": please")[0])
    assert "ZeroDivisionError" in path.read_text()
    path.unlink()


def test_escape_sequences_are_shown_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("a\x1b[31mb\x07\u202ec\n") == "a\\x1b[31mb\\x07\\u202ec\n"
    file = tmp_path / "run.yaml"
    file.write_text('"\\e[31mstepz": 1\n')
    assert call("train", str(file), "--dry-run") == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\\x1b[31mstepz" in said


def test_markup_in_names_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    view = Plain(console(), 3, "[bold]x[/] [/nothing]")
    view.note("[red]a[/red] :smile: [/]")
    view.step(1, {"reward": 1.0})
    printed = capsys.readouterr().out
    assert "[red]a[/red] :smile: [/]" in printed and "[bold]x[/] [/nothing]" in printed


def _train_unread(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    with (folder / "said").open("w") as said:
        os.dup2(said.fileno(), 2)
    sys.argv = ["entrostat", "train", *SMALL, "steps=2", "eval.problems=0", "--out", str(folder / "run")]
    main()


def test_training_outlives_the_reader_of_its_output(tmp_path: Path) -> None:
    in_a_process(_train_unread, tmp_path)
    assert "Broken pipe" not in (tmp_path / "said").read_text() and (tmp_path / "run" / "summary.json").exists()


def test_a_stream_that_cannot_be_written_is_dropped() -> None:
    class Gone:
        encoding = "ascii"

        def write(self, text: str) -> int:
            if not text.isascii():
                raise UnicodeEncodeError("ascii", text, 0, 1, "no")
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    stream = Forgiving(Gone())  # type: ignore[arg-type]
    assert stream.write("x") == 1
    stream.flush()
    assert stream.write("y") == 1
    stream._stream.close()
    assert _text.__doc__


@pytest.mark.parametrize("becomes", ["raise KeyboardInterrupt", "raise ImportError('broken off')"])
def test_ctrl_c_while_modules_are_loaded_is_a_word(becomes: str) -> None:
    script = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "typer":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                {becomes}
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the suite runs in the background of a shell
sys.meta_path.insert(0, Finder())
from entrostat.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "stopped\n")


def test_tasks_and_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("tasks") == 0
    listed = capsys.readouterr().out
    assert "countdown" in listed and "chain_sum" in listed and "only with task.run_answers=true" in listed
    assert "problems_per_prompt=1" in listed
    assert call("models") == 0
    assert "smollm2" in capsys.readouterr().out
    assert call("train", "--help") == 0
    assert "eval.every" in capsys.readouterr().out
