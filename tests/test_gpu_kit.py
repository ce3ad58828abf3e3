"""The GPU kit: pieces travel and come together whole, results are kept. The parts themselves run in `make gpu-rehearsal`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

GPU = Path(__file__).parents[1] / "benchmarks" / "gpu"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kit's modules by their own names, and gone afterwards; the tests have a folder `run` too."""
    monkeypatch.delitem(sys.modules, "run", raising=False)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(GPU))
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in (
            "pack",
            "unpack",
            "closure",
            "record",
            "parts",
            "run",
            "studies",
            "kernels",
            "gpu_progress",
        ):
            del sys.modules[name]


def wheels(folder: Path) -> list[Path]:
    folder.mkdir()
    made = []
    for name, size in (("large", 5000), ("small", 100), ("other", 900)):
        path = folder / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}/data.bin", bytes(range(250)) * (size // 250 + 1))
            archive.writestr(f"{name}-1.0.data/purelib/{name}_more.py", "x = 1\n")
            archive.writestr(f"{name}-1.0.data/scripts/run", "never")
        made.append(path)
    return made


def test_pieces_come_together_in_any_order(kit: None, tmp_path: Path) -> None:
    from pack import fill
    from unpack import unpack

    sites = {path: ["site-packages", "verl"][: 1 + (path.name[0] == "s")] for path in wheels(tmp_path / "wheels")}
    folders = fill(sites, tmp_path / "packed", 2000)
    assert len(folders) > 3
    for folder in folders:
        files = [file for file in folder.iterdir() if file.name != "manifest.json"]
        assert sum(file.stat().st_size for file in files) <= 2000
    into = tmp_path / "kit"
    found = [name for folder in reversed(folders) for name in unpack(folder, into)]
    assert sorted(found) == [f"{name}-1.0-py3-none-any.whl" for name in ("large", "other", "small")]
    assert [name for folder in folders for name in unpack(folder, into)] == []  # once is enough
    assert (into / "site-packages" / "large" / "data.bin").stat().st_size == 5250
    assert (into / "site-packages" / "small_more.py").read_text() == "x = 1\n"
    assert [path.name for path in (into / "verl").glob("*.py")] == [
        "small_more.py"
    ]  # both paths have it, it traveled once
    assert not list(into.rglob("run")) and not list((into / "pieces").iterdir())


def test_a_damaged_piece_is_named(kit: None, tmp_path: Path) -> None:
    from pack import fill
    from unpack import unpack

    folders = fill({path: ["site-packages"] for path in wheels(tmp_path / "wheels")}, tmp_path / "packed", 2000)
    entry = json.loads((folders[0] / "manifest.json").read_text())[0]
    piece = folders[0] / entry["stored"]
    piece.write_bytes(piece.read_bytes()[:-1] + b"!")
    with pytest.raises(SystemExit, match=rf"{entry['stored']} has sha256 .* send its folder again"):
        unpack(folders[0], tmp_path / "kit")


def test_what_the_target_has_is_not_carried(kit: None) -> None:
    from closure import closure, read_have

    have = read_have("torch==2.11.0  # with CUDA\n\ntriton @ file:///somewhere\nnumpy\n")
    assert have == {"torch": "2.11.0", "triton": "", "numpy": ""}
    names = {package.metadata["Name"].lower() for package in closure(have, "3.12")}
    assert {"trl", "transformers", "pytest", "peft"} <= names
    assert not names & {"torch", "triton", "numpy", "entrostat", "reasoning-gym"}


def test_what_the_target_has_in_a_version_that_does_not_do_is_carried(kit: None, tmp_path: Path) -> None:
    """And with it what builds on it there in another version than here; what is the same or needs it not stays."""
    from closure import closure

    packages = {
        "entrostat": ("1.0", ["host>=2", "plain"]),
        "host": ("2.1", ["hub>=3", "torch"]),
        "hub": ("3.0", []),
        "plain": ("1.0", []),
        "tokens": ("5.0", ["hub"]),
        "models": ("7.0", ["tokens", "hub"]),
        "torch": ("2.13", ["hub"]),
    }
    for name, (version, needs) in packages.items():
        (folder := tmp_path / f"{name}-{version}.dist-info").mkdir()
        lines = [
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
            *(f"Requires-Dist: {each}" for each in needs),
        ]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    def carried(**have: str) -> list[str]:
        roots = ["entrostat", "models"]
        return [package.metadata["Name"] for package in closure(have, "3.12", roots, tmp_path)]

    same = {name: version for name, (version, _) in packages.items() if name != "entrostat"}
    assert carried(torch="") == ["host", "hub", "models", "plain", "tokens"]
    assert carried(**same) == []
    assert carried(**same | {"plain": "0.9", "torch": "2.11"}) == []  # nobody minds
    assert carried(**same | {"host": "1.9"}) == ["host"]
    # The host wants a newer hub. Those that came with the old one are carried where they are not the same as here.
    old = same | {"host": "1.9", "hub": "2.0", "torch": "2.11"}
    assert carried(**old) == ["host", "hub"]
    assert carried(**old | {"tokens": "4.0", "models": "6.0"}) == ["host", "hub", "models", "tokens"]


def test_what_verl_needs_is_taken_from_its_own_environment(kit: None, tmp_path: Path) -> None:
    from closure import closure, verl_roots, verl_site

    site = tmp_path / ".venv-verl" / "lib" / "python3.12" / "site-packages"
    for name, needs in (("verl", ["ray", 'mbridge; extra == "mcore"', "torch"]), ("ray", []), ("entrostat", ["ray"])):
        (folder := site / f"{name}-1.0.dist-info").mkdir(parents=True)
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0", *(f"Requires-Dist: {each}" for each in needs)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
    assert verl_site(tmp_path) == site and verl_site(tmp_path / "elsewhere") is None
    found = closure({"torch": ""}, "3.12", ["entrostat", "verl==1.0"], site)
    assert [package.metadata["Name"] for package in found] == ["ray", "verl"]
    with pytest.raises(SystemExit, match=r"pytest is needed and not installed in .*venv-verl"):
        closure({"torch": ""}, "3.12", ["pytest"], site)
    assert verl_roots()[0] == "entrostat" and any(root.startswith("verl==") for root in verl_roots())


@pytest.mark.parametrize("first", ["fails", "hangs"])
def test_a_failure_in_one_part_does_not_stop_the_next(kit: None, first: str, tmp_path: Path) -> None:
    """Parts as processes: one raises, or takes longer than its limit; the next still writes its row."""
    import run

    code = {
        "fails": "raise RuntimeError('no memory')",
        "hangs": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(99)'])",
        "works": "import json; open(out / 'works.jsonl', 'w').write(json.dumps({'key': 1, 'value': 2}) + chr(10))",
    }
    for name, body in code.items():
        (tmp_path / f"{name}.py").write_text(f"import pathlib\nout = pathlib.Path({str(tmp_path)!r})\n{body}\n")
    ended = [
        run.run(name, [sys.executable, str(tmp_path / f"{name}.py")], [], limit)
        for name, limit in ((first, 3 if first == "hangs" else 60), ("works", 60))
    ]
    assert ("ran out of its time" if first == "hangs" else "ended with 1") in ended[0] and "ended with 0" in ended[1]
    assert run.errors(tmp_path, first) == ["no result at all"] and run.errors(tmp_path, "works") == []


def test_results_are_kept_and_failures_tried_again(kit: None, tmp_path: Path) -> None:
    from record import Results

    path, calls = tmp_path / "part.jsonl", []

    def work(fails: bool) -> dict[str, int]:
        calls.append(fails)
        if fails:
            raise RuntimeError("out of memory")
        return {"value": 1}

    assert not Results(path).measure({"case": 1}, lambda: work(True))
    assert Results(path).measure({"case": 1}, lambda: work(False))
    assert Results(path).measure({"case": 1}, lambda: work(False))
    assert calls == [True, False]
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["error"] == "RuntimeError: out of memory" and second["value"] == 1
    assert {"card", "driver", "packages", "commit"} <= second["place"].keys()
    with path.open("a") as stream:
        stream.write('{"key": {"case": 2}, "val')  # killed while it wrote
    assert Results(path).measure({"case": 2}, lambda: work(False)) and Results(path).measure(
        {"case": 2}, lambda: work(True)
    )
    assert calls == [True, False, False]


def test_a_row_that_costs_the_device_ends_the_part_and_is_not_tried_again(
    kit: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import record
    from run import BROKEN

    path = tmp_path / "part.jsonl"
    results = record.Results(path)
    monkeypatch.setattr(record, "lost", lambda: True)
    with pytest.raises(SystemExit) as ended:
        results.measure({"case": 1}, lambda: 1 / 0)
    assert ended.value.code == BROKEN
    assert record.Results(path).measure({"case": 1}, lambda: pytest.fail("it would cost the device again"))
    (row,) = record.read(path)
    assert row["lost"] and "ZeroDivisionError" in row["error"]


def test_a_part_that_lost_its_device_goes_on(kit: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import run

    ends = iter([f"contract ended with {run.BROKEN} after 1 s", "contract ended with 0 after 1 s"])
    limits = []
    monkeypatch.setattr(run, "run", lambda *told: limits.append(told[-1]) or next(ends))
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["run.py", "--parts", "1", "--out", str(tmp_path)])
    assert run.main() == 0
    assert next(ends, None) is None and limits[1] < limits[0] <= 60 * run.MINUTES[1]
    assert sum(run.MINUTES.values()) == 25


def test_rows_from_several_threads_stay_whole(kit: None, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from record import Results, read

    results = Results(tmp_path / "part.jsonl")
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(results.measure, {"case": number}, lambda: {"where": "x" * 50_000})
    assert sorted(row["key"]["case"] for row in read(results.path)) == list(range(40))


def test_the_sweep_leaves_the_kernels_their_own_warps(kit: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    from parts.statistics import with_warps

    from entrostat.stats import triton_kernel

    own = triton_kernel._block
    with pytest.raises(RuntimeError, match="out of memory"), with_warps(2):
        assert triton_kernel._block(100) == own(100) | {"num_warps": 2}
        raise RuntimeError("out of memory")
    assert triton_kernel._block is own


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")
@pytest.mark.parametrize("columns", [4096, 384])
def test_every_kernel_compiles_for_an_h200(
    kit: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> None:
    """As the library launches them at its own tile, and at what is left of 151,936 entries after the last; in registers alone."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))  # nothing is taken from an earlier run
    from kernels import compiled, launches, resources

    every = launches(columns)
    flags = {launch.name for launch in every}
    assert {"fold", "fold first second", "fold capped first", "gradient", "gradient capped target"} <= flags
    assert {dict(launch.signature)["tile"] for launch in every} == {"*fp32"}
    for launch in every:
        kernel = compiled(launch)
        assert kernel.asm["cubin"][:4] == b"\x7fELF" and ".target sm_90" in kernel.asm["ptx"], launch
        assert resources(kernel).get("stack", 0) == 0, launch


def test_a_row_does_not_begin_when_the_time_is_over(kit: None, tmp_path: Path) -> None:
    from record import Results, read

    over, calls = Results(tmp_path / "part.jsonl", seconds=0), []
    assert over.left() == 0 and not over.measure({"case": 1}, lambda: calls.append(1) or {})
    assert over.left_out == 1 and not calls and not read(over.path)
    plenty = Results(tmp_path / "part.jsonl", seconds=60)
    assert 0 < plenty.left() <= 60
    # A row that was cut off says how far it came, counts as left out, and is measured again.
    assert not plenty.measure({"case": 1}, lambda: {"steps": 7, "error": "cut off", "cut_off": True})
    assert plenty.left_out == 1 and read(plenty.path)[0]["steps"] == 7
    assert Results(tmp_path / "part.jsonl").measure({"case": 1}, lambda: {"steps": 9})


def test_a_part_knows_its_time_and_says_what_is_left(kit: None, tmp_path: Path) -> None:
    """A part whose time is over before its first row begins none, and its exit code says that some are left."""
    from run import UNFINISHED

    command = [
        sys.executable,
        str(GPU / "part.py"),
        "verl",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
        "--seconds",
        "0",
    ]
    environment = os.environ | {"PYTHONPATH": str(GPU.parents[1] / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == UNFINISHED and "1 rows of verl are left" in done.stdout, done.stderr


def test_a_file_of_tests_that_is_cut_off_goes_on_behind_its_last_test(
    kit: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from parts import contract
    from record import Results

    stop = tmp_path / "stop"
    stop.touch()
    (tmp_path / "test_slow.py").write_text(
        f"""import pathlib, time
log = pathlib.Path({str(tmp_path / "ran")!r})
def test_first():
    log.open("a").write("first ")
def test_fails():
    log.open("a").write("fails ")
    assert {str(stop)!r} == 0
def test_last():
    log.open("a").write("last ")
    while pathlib.Path({str(stop)!r}).exists():
        time.sleep(0.1)
"""
    )
    monkeypatch.setattr(contract, "ROOT", tmp_path)
    monkeypatch.setattr(contract, "SPARE", 0.0)
    results = Results(tmp_path / "contract.jsonl", seconds=8)
    row = contract.suite("cpu", "test_slow.py", results)
    assert row["cut_off"] and row["passed"] == 1 and row["failed"] == 1
    stop.unlink()
    row = contract.suite("cpu", "test_slow.py", Results(tmp_path / "contract.jsonl"))
    assert row["passed"] == 2 and row["failures"] == ["test_slow.py::test_fails"] and "assert" in row["where"]
    assert (tmp_path / "ran").read_text() == "first fails last fails last "


def test_a_test_that_costs_the_device_counts_as_failed_and_the_rest_runs(
    kit: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from parts import contract
    from record import Results

    (tmp_path / "test_device.py").write_text(
        "import torch\ntorch.cuda.is_available = lambda: True\n"
        "def gone():\n    raise RuntimeError('device-side assert')\n"
        "def test_costs_it(monkeypatch):\n    torch.cuda.synchronize = gone\n    assert False\n"
        "def test_after():\n    torch.cuda.is_available()\n"
    )
    monkeypatch.setattr(contract, "ROOT", tmp_path)
    row = contract.suite("cpu", "test_device.py", Results(tmp_path / "contract.jsonl"))
    assert row["failures"] == ["test_device.py::test_costs_it"] and row["passed"] == 1


def test_a_side_that_does_not_fit_says_so_and_stops_nothing(
    kit: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch
    from parts import statistics
    from record import Results, read

    tried = []
    plain = statistics.runner

    def runner(kind: str, name: str, *others: object) -> Callable[[], None]:
        if name == "torch":
            return plain(kind, name, *others)

        def too_much() -> None:
            tried.append(name)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB\nmore")

        return too_much

    monkeypatch.setattr(statistics, "runner", runner)
    for _ in range(2):
        results = Results(tmp_path / "statistics.jsonl")
        statistics.compare("forward", (8, 4, 50), "cpu", 2, results, ("full", "torch"))
    assert tried == ["full"]  # once, and not by the next call either
    rows = {(row["key"]["side"], row["key"]["of"]): row for row in read(results.path)}
    assert len(rows) == len(read(results.path)) == 4 and not any("error" in row for row in rows.values())
    assert rows["full", "memory"]["fits"] is rows["full", "seconds"]["fits"] is False
    assert "64.00 GiB" in rows["full", "memory"]["said"] and rows["torch", "seconds"]["turns"] == 2


def test_waits_are_counted_by_what_the_profiler_calls_them_anywhere(kit: None) -> None:
    from parts.training import waits_in

    counts = {"cudaLaunchKernelExC": 90, "cuStreamSynchronize": 2, "cudaDeviceSynchronize": 1, "aten::nonzero": 3}
    counts |= {"Memcpy DtoH (Device -> Pageable)": 4, "Memcpy HtoD (Pageable -> Device)": 5, "aten::mul": 6}
    found = waits_in(counts, "cuda")
    assert found == {key: value for key, value in counts.items() if key.endswith("Synchronize") or value in (3, 4)}
    assert waits_in({"aten::mul": 6}, "cuda") == {"not seen": 1}  # the profiler saw no card: that is no zero
    assert waits_in({"aten::mul": 6}, "cpu") == {}


def test_a_run_that_the_time_limit_ended_says_how_far_it_came(
    kit: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from parts import long

    def run(command: list[str], timeout: float, **_: object) -> None:
        tmp_path.joinpath("metrics.jsonl").write_text("{}\n" * 7)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(long.subprocess, "run", run)
    row = long.train(tmp_path, ["steps=40"], True, 3.0)
    assert row["steps"] == 7 and row["cut_off"]
    # One that ended between its summary and its row is not started again: it would refuse, having finished.
    (tmp_path / "summary.json").write_text('{"method": "hold"}')
    assert long.train(tmp_path, ["steps=40"], True, 3.0)["summary"] == {"method": "hold"}


def test_completions_are_written_without_sampling(kit: None) -> None:
    import torch
    from parts.training import written

    prompt = torch.zeros(8, 3, dtype=torch.long)
    ragged, even = (written(1000, 16, 5, ragged)(input_ids=prompt, max_new_tokens=9) for ragged in (True, False))
    assert ragged.shape == (8, 19) and (ragged[:, :3] == 0).all()
    ends = (ragged[:, 3:] == 5).nonzero()
    assert ends[:, 1].tolist() == [3, 7, 11, 15] * 2 and not (even == 5).any()


def test_the_arms_of_the_long_runs_exist(kit: None) -> None:
    sys.modules.pop("studies", None)  # each suite has a module of this name
    from parts import long
    from studies import ARMS

    assert set(long.TINY) <= set(ARMS)
