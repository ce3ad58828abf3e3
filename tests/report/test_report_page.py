"""The report: everything shown is in its JSON twin, nothing is fetched, nothing that a model wrote is markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report.report_case import HOSTILE, write_run

from entrostat.cli.main import main
from entrostat.errors import ConfigError, DataError, SaveError
from entrostat.report.content import content_of
from entrostat.report.page import embedded, packed, page_of, write_report
from entrostat.report.thinning import extremes, means, noise, trend


class Elements(HTMLParser):
    """The elements of a page with their attributes and, of scripts and styles, their text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag in ("script", "style"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "run")


def test_a_page_holds_its_charts_and_tokens(folder: Path) -> None:
    content = content_of([folder])
    charts = {chart["id"]: chart for chart in content["charts"]}
    assert {"entropy", "controller", "flow-0", "predicted-measured", "reward", "solved", "length", "plane-0"} <= set(
        charts
    )
    names = [series["name"] for series in charts["controller"]["series"]]
    assert names == ["output", "proportional", "integral", "at its limit"]
    target = next(s for s in charts["entropy"]["series"] if s["name"] == "target")
    assert set(target["y"]) == {0.3}
    assert len(content["tokens"]) == 3 and sum(len(r["lengths"]) for r in content["tokens"]) == 12
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_the_page_is_the_twin_and_no_more(folder: Path, tmp_path: Path) -> None:
    content = content_of([folder])
    page, twin = write_report(content, tmp_path / "report.html")
    assert json.loads(twin.read_text()) == content
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    assert inside and json.loads(inside.group(1)) == packed(content)
    record, small = content["tokens"][0], packed(content)["tokens"][0]
    unpacked = np.frombuffer(base64.b64decode(small["columns"]["logp"]), "<f4")
    np.testing.assert_allclose(unpacked, record["columns"]["logp"], rtol=1e-5)
    factors = np.frombuffer(base64.b64decode(small["would"]["flow"]), "u1") / 50
    np.testing.assert_allclose(factors, record["would"]["flow"], atol=0.011)


def test_no_text_becomes_markup_and_nothing_is_fetched(folder: Path) -> None:
    page = page_of(content_of([folder]))
    elements = Elements(page)
    scripts = [attributes for tag, attributes in elements.found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    for _tag, attributes in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    data = embedded(content_of([folder]))
    assert "<" not in data and data.isascii()
    for character in "\x1b\u202e\u200b\ufeff\u2028":
        assert character not in page


def test_only_its_own_script_may_run(folder: Path) -> None:
    page = page_of(content_of([folder]))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1)  # type: ignore[union-attr]
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)  # type: ignore[union-attr]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "connect-src 'none'" in policy and "unsafe" not in policy


def test_tokens_are_shown_with_placeholders(folder: Path) -> None:
    texts = content_of([folder])["tokens"][0]["texts"]
    assert texts[str(HOSTILE.index("\u202egnp.exe"))] == "⟨U+202E⟩gnp.exe"
    assert texts[str(HOSTILE.index("\ud800"))] == "⟨U+D800⟩"


def test_settings_are_shown_as_a_configuration_has_them(folder: Path) -> None:
    written = "train_problems: null\neval: {ks: [1, 8], splits: [eval], every: 0}\n"
    written += "trainer: {bf16: false, use_cpu: true, learning_rate: 1.0e-06, top: [], warmup: 0.5, kwargs: {}}\n"
    (folder / "config.yaml").write_text(written)
    shown = content_of([folder])["runs"][0]["config"]
    assert shown["train_problems"] == "not set" and shown["eval.ks"] == "[1, 8]" and shown["eval.splits"] == "[eval]"
    assert shown["trainer.bf16"] == "false" and shown["trainer.use_cpu"] == "true" and shown["trainer.top"] == "none"
    assert shown["trainer.learning_rate"] == "1e-06" and shown["trainer.kwargs"] == "none"
    assert not re.search(r"None|True|False|'|\(", " ".join(shown.values()))


def test_a_mean_of_25_steps_has_25(tmp_path: Path) -> None:
    names = []
    for rows in (24, 25):
        log = tmp_path / f"{rows}.jsonl"
        log.write_text("".join(json.dumps({"step": i, "entropy": 0.5, "reward": 0.1 * i}) + "\n" for i in range(rows)))
        (chart,) = (each for each in content_of([log])["charts"] if each["title"] == "Reward")
        names.append(chart["series"][-1]["name"])
    assert names == ["trend", "mean of 25 steps"]


def test_several_runs_and_folders_of_runs(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / "both" / name, steps=20, records=1)
    content = content_of([tmp_path / "both", folder])
    assert [run["label"] for run in content["runs"]] == ["a", "b", "run"]
    entropy = next(chart for chart in content["charts"] if chart["id"] == "entropy")
    assert {series["run"] for series in entropy["series"]} == {0, 1, 2}
    with pytest.raises(ConfigError, match="at most 12"):
        content_of([folder] * 13)


def test_a_log_of_another_trainer(tmp_path: Path) -> None:
    rows = [{"step": step, "entropy": 0.5 / step, "reward": 0.1, "loss": 0.0} for step in range(1, 30)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = content_of([tmp_path / "log.jsonl"])
    assert "entropy" in {chart["id"] for chart in content["charts"]} and content["tokens"] == []


def test_the_number_of_completions_is_bounded(tmp_path: Path) -> None:
    run = write_run(tmp_path / "many", records=12, steps=120)
    content = content_of([run], completions=20)
    assert sum(len(record["lengths"]) for record in content["tokens"]) <= 20
    steps = [record["step"] for record in content["tokens"]]
    assert steps[0] == 9 and steps[-1] == 110  # the first and the last record stay


def test_a_damaged_record_is_said_and_the_others_shown(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", records=2)
    first = sorted((run / "tokens").iterdir())[0]
    first.write_bytes(first.read_bytes()[:100])
    content = content_of([run])
    assert len(content["tokens"]) == 1 and "cannot be read" in content["runs"][0]["problems"][0]


def test_bad_paths(tmp_path: Path, folder: Path) -> None:
    with pytest.raises((ConfigError, DataError)):
        content_of([tmp_path / "nowhere"])
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="another --out"):
        write_report(content_of([folder]), tmp_path / "file" / "report.html")


@pytest.mark.parametrize("out", ["trainer_state.html", "trainer_state.json", "log.csv"])
def test_a_file_that_is_no_report_is_not_replaced(folder: Path, tmp_path: Path, out: str) -> None:
    content = content_of([folder])
    for name in ("trainer_state.json", "log.csv"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=r"would replace|let the page's name end in"):
        write_report(content, tmp_path / out)
    assert {each.read_text() for each in tmp_path.iterdir()} == {"mine"}
    for _ in range(2):  # an earlier report is
        write_report(content, tmp_path / "report.html")


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = write_run(tmp_path / "[bold]run\x1b[31m", steps=30, records=1)
    main_exit(["report", str(strange), "--out", str(tmp_path / "page.html")])
    printed = capsys.readouterr().out
    assert "[bold]run⟨ESC⟩[31m" in printed and "\x1b" not in printed
    assert (tmp_path / "page.html").exists() and (tmp_path / "page.json").exists()


def main_exit(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code in (0, None)


def test_no_torch() -> None:
    script = (
        "import sys, entrostat.report.content, entrostat.report.page, entrostat.report.serve, entrostat.report.watch; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_thinning_keeps_every_peak() -> None:
    y = np.sin(np.arange(5000) / 50)
    y[1234], y[4321] = 9.0, -9.0
    x, kept = extremes(np.arange(5000.0), y, 400)
    assert len(x) <= 400 and kept.max() == 9 and kept.min() == -9 and x[0] == 0 and x[-1] == 4999
    assert (np.diff(x) > 0).all()
    short = extremes(np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 3.0]))
    assert short[0].tolist() == [1, 3]


def test_means_keep_the_total() -> None:
    x, columns = means(np.arange(1000.0), {"a": np.ones(1000), "b": np.arange(1000.0)}, 10)
    assert len(x) == 10 and columns["a"].tolist() == [1.0] * 10 and columns["b"].mean() == pytest.approx(499.5)


def test_noise_is_that_of_a_batch_and_not_the_trend() -> None:
    random = np.random.default_rng(0)
    y = np.linspace(1, 0, 2000) + 0.01 * random.normal(size=2000)
    assert noise(y) == pytest.approx(0.01, rel=0.15) and noise(y[:2]) == 0
    assert trend(np.ones(10), 5).tolist() == pytest.approx([1] * 10)
    assert trend(np.arange(40.0), 25).tolist() == pytest.approx(range(40))  # at the ends, too
    assert trend(np.array([3.0]), 25).tolist() == [3.0]


def test_the_band_is_the_logged_standard_error(tmp_path: Path) -> None:
    """Where the run logs one, its own trend is the band's half width; elsewhere the neighbors' differences are."""
    run = write_run(tmp_path / "run", steps=40)
    path = run / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]

    def band_and_note() -> tuple[np.ndarray, str]:
        chart = next(each for each in content_of([run])["charts"] if each["id"] == "entropy")
        low, high = next(series["band"] for series in chart["series"] if "band" in series)
        return np.array(high) - np.array(low), chart["note"]

    judged, said = band_and_note()
    assert "neighboring" in said and np.ptp(judged) < 1e-5
    for row in rows[5:]:  # missing at first, as in a run that began with an older version
        row["token_entropy/standard_error"] = 0.05
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    logged, said = band_and_note()
    assert "within each batch" in said and logged == pytest.approx(np.full(40, 0.2), rel=1e-4)
