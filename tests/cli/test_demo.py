from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.evaluate.fakes import FakeEngine
from tests.report.html_check import check
from typer.testing import CliRunner, Result

from trimtab.cli.app import app
from trimtab.cli.models import EngineChoice
from trimtab.errors import TrimtabError
from trimtab.measure.rows import CONDITIONS
from trimtab.steering.steering import Steering

SMALL = [
    "--pairs",
    "6",
    "--validation",
    "3",
    "--test",
    "4",
    "--instructions",
    "lowercase,sentences(at_most=2)",
]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every model is the fake one; the names asked for are recorded."""
    asked: list[str] = []
    engine = FakeEngine()

    def open_engine(loading: object, output: object, model: str, **options: object) -> FakeEngine:
        asked.append(model)
        return engine

    monkeypatch.setattr(EngineChoice, "open", open_engine)
    return asked


def trimtab(*arguments: str, folder: Path) -> Result:
    return CliRunner().invoke(app, ["demo", "--out", str(folder / "demo"), *SMALL, *arguments])


def test_it_prints_the_table_samples_and_where_to_look(fake: list[str], tmp_path: Path) -> None:
    result = trimtab("--model", "some/model", folder=tmp_path)
    assert result.exit_code == 0, result.output
    assert fake == ["some/model"]
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["lowercase", "0.00", "1.00", "1.00", "1.00", "4.48", "0.00"] in lines
    assert ["sentences(at_most=2)", "0.00", "0.00", "0.00", "0.00"] in [line[:5] for line in lines]
    assert ["mean", "0.00", "0.50", "0.50", "0.50"] in lines
    assert "4 test questions each" in result.stdout
    assert "the river is quiet." in result.stdout
    assert "report.html" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80 + len(str(tmp_path))


def test_it_leaves_a_report_and_steerings(fake: list[str], tmp_path: Path) -> None:
    assert trimtab(folder=tmp_path).exit_code == 0
    check((tmp_path / "demo" / "report.html").read_text(encoding="utf-8"))
    for name in ("lowercase", "sentences"):
        assert Steering.load(tmp_path / "demo" / "steerings" / name).record.method == "mean_difference"


def test_json_on_standard_output_stands_alone(fake: list[str], tmp_path: Path) -> None:
    result = trimtab("--json", "-", folder=tmp_path)
    document = json.loads(result.stdout)
    assert list(document) == ["model", "rows", "closed_book", "seconds"]
    assert {one["n"] for one in document["closed_book"].values()} == {60}
    assert [row["condition"] for row in document["rows"]] == list(CONDITIONS) * 2
    assert [row["method"] for row in document["rows"]] == [None, None, *["mean_difference"] * 2] * 2
    assert document["rows"][4]["params"] == {"at_most": 2}
    assert set(document["seconds"]) == {"load", "baseline", "learn", "search", "test", "report", "total"}


def test_json_into_a_file_beside_the_table(fake: list[str], tmp_path: Path) -> None:
    result = trimtab("--json", str(tmp_path / "rows.json"), folder=tmp_path)
    assert len(json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]) == 8
    assert "lowercase" in result.stdout


def test_quiet_says_nothing(fake: list[str], tmp_path: Path) -> None:
    result = trimtab("--quiet", folder=tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "demo" / "report.html").exists()


def test_without_a_terminal_the_steps_are_told(fake: list[str], tmp_path: Path) -> None:
    stages = trimtab(folder=tmp_path).stderr
    assert "lowercase: " in stages
    assert "sentences(at_most=2): " in stages
    assert "answering the test questions" in stages


def test_the_same_seed_gives_the_same_rows(fake: list[str], tmp_path: Path) -> None:
    first, second, other = (
        json.loads(trimtab("--json", "-", "--seed", seed, folder=tmp_path).stdout)["rows"] for seed in "001"
    )
    assert first == second
    assert [row["n"] for row in other] == [row["n"] for row in first]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--instructions", "lowercas"], "did you mean lowercase"),
        (["--instructions", "sentences(at_most=0)"], "at_most"),
        (["--test", "100000"], "fewer than the 100000"),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    fake: list[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = trimtab(*arguments, folder=tmp_path)
    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert result.stdout == ""


def test_a_folder_that_cannot_be_made_is_found_before_the_model_is_loaded(
    fake: list[str], tmp_path: Path
) -> None:
    (tmp_path / "demo").write_text("a file")
    result = trimtab(folder=tmp_path)
    assert result.exit_code == 2
    assert "cannot make the folder" in result.stderr
    assert fake == []


def test_the_command_is_known_without_heavy_imports() -> None:
    heavy = ("torch", "matplotlib", "transformers")
    code = f"import sys, trimtab.cli.demo; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_any_model_in_a_folder_runs_through(model_folder: Path, tmp_path: Path) -> None:
    options = ["--model", str(model_folder), "--device", "cpu", "--max-new-tokens", "6", "--json", "-"]
    options += ["--facts", "3"]
    result = trimtab(*options, folder=tmp_path)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["model"] == model_folder.name
    assert {row["n"] for row in document["rows"]} == {4}
    asked = [row["condition"] for row in document["rows"] if row["quality"]["facts"] is not None]
    assert set(asked) == {"baseline", "steered"}
    assert all(row["quality"]["perplexity"] >= 1 for row in document["rows"] if row["quality"]["perplexity"])
    check((tmp_path / "demo" / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_on_nano_steering_moves_what_it_should(tmp_path: Path) -> None:
    arguments = [
        "--json",
        "-",
        "--pairs",
        "24",
        "--steps",
        "40",
        "--validation",
        "6",
        "--test",
        "12",
        "-i",
        "lowercase,sentences(at_most=2)",
    ]
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), *arguments])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["model"].startswith("nano")
    rows = {
        (row["instruction"], row["condition"]): row
        for row in document["rows"]
        if row["method"] != "mean_difference"
    }
    assert len(rows) == 8
    vectors = {row["instruction"]: row for row in document["rows"] if row["method"] == "mean_difference"}
    for name in ("lowercase", "sentences"):
        assert rows[name, "instructed"]["followed"] >= 0.75
        assert rows[name, "baseline"]["quality"]["facts"] >= 0.9
        assert rows[name, "baseline"]["followed"] <= 0.1
        assert rows[name, "steered"]["followed"] >= 0.9
        assert rows[name, "steered"]["quality"]["facts"] >= 0.9
    assert vectors["sentences"]["followed"] >= 0.5
    page = check((tmp_path / "demo" / "report.html").read_text(encoding="utf-8"))
    assert "share of sentences that are true" in page.words


@pytest.mark.parametrize(
    ("name", "is_folder"), [("report.html", True), ("steerings", False), ("vectors", False)]
)
def test_what_is_in_the_way_is_told_before_the_work(
    fake: list[str], tmp_path: Path, name: str, is_folder: bool
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / name).mkdir() if is_folder else (tmp_path / "demo" / name).write_text("mine")
    result = trimtab(folder=tmp_path)
    assert (result.exit_code, fake) == (2, [])
    assert result.stderr.startswith("error: cannot write ")
    assert name in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_figures_are_kept_where_the_report_cannot_be(
    fake: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise TrimtabError("cannot write report.html: No space left on device")

    monkeypatch.setattr("trimtab.demo.saving.reports.write", full)
    result = trimtab("--json", str(tmp_path / "all.json"), folder=tmp_path)
    assert (result.exit_code, "No space left" in result.stderr) == (2, True)
    assert len(json.loads((tmp_path / "all.json").read_text())["rows"]) == 8
