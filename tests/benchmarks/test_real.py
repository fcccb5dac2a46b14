"""benchmarks/real: what it keeps and does not do again, its figures, and its table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmarks.learning import learned, place
from benchmarks.pages import into
from benchmarks.real import __main__ as main
from benchmarks.real.figures import figures_of, pair_of, summary_of
from benchmarks.real.scoring import add_scores
from benchmarks.real.settings import Settings, instructions_for
from benchmarks.real.table import command as fill
from benchmarks.real.table import markdown, pairs_table
from benchmarks.running import run

import trimtab
from trimtab import instructions as catalogue
from trimtab.errors import TrimtabError

TINY = "--queries 3 --tokens 16 --pairs 1 --scorer none --facts 0".split()
LEARN = ["--learn", "--pairs 12 --validation 2 --steps 2 --blocks 2 --max-new-tokens 48"]


def answer(strict: bool, tokens: int = 10, **more: Any) -> dict[str, Any]:
    given = {"query": "q", "text": "t", "finished": True, "nll": 1.0, "repetition": 0.1, "loose": True}
    return {**given, "strict": strict, "tokens": tokens, **more}


def measured(spelled: str = "no_commas", **conditions: list[dict[str, Any]]) -> dict[str, Any]:
    instruction = catalogue.resolve(spelled)
    given = {
        "baseline": [answer(False), answer(False)],
        "instructed": [answer(True), answer(False)],
        "steered": [answer(True, 12, nll=2.0, repetition=0.2), answer(True, 12, nll=2.0, repetition=0.2)],
        "instructed+steered": [answer(False), answer(False)],
    }
    return {
        "what": {"instruction": instruction.to_dict()},
        "learned": {"seconds": 90.0},
        "edits": 8,
        "facts": {"n": 10, "baseline": 0.5, "steered": 0.4},
        "conditions": given | conditions,
    }


# --- settings --------------------------------------------------------------------------------------------------------


def test_a_small_model_gets_one_of_every_family() -> None:
    chosen = instructions_for("smollm2", None)
    assert len(chosen) >= 14
    families = {one.type.family for one in chosen}
    assert {"format", "case", "punctuation", "length", "words", "language"} <= families
    assert len(instructions_for("gemma3-270m", None)) >= 4
    assert len({place([one]) for one in chosen}) == len(chosen)


def test_pairs_are_compatible_and_always_the_same() -> None:
    settings = Settings("smollm2", instructions_for("smollm2", None))
    pairs = settings.combinations()
    assert len(pairs) == 15
    assert not any(one.conflicts_with(other) for one, other in pairs)
    assert pairs == settings.combinations()


def test_a_share_is_less_of_everything_and_says_so() -> None:
    settings = Settings("smollm2", instructions_for("smollm2", None))
    trial = settings.shared(0.1)
    assert trial.trial
    assert not settings.trial
    assert (trial.queries, trial.facts, trial.pairs, trial.scored) == (5, 14, 2, 1)
    assert trial.learn[:2] == ("--pairs", "16")
    assert settings.shared(1.0) is settings


# --- figures ---------------------------------------------------------------------------------------------------------


def test_figures_compare_with_plain_answers() -> None:
    found = figures_of(measured())
    steered = found["conditions"]["steered"]
    assert (found["instruction"], found["family"], found["seconds"]) == ("no_commas", "punctuation", 90.0)
    assert (steered["n"], steered["followed"], steered["tokens"]) == (2, 1.0, 12)
    against = steered["against_plain"]
    assert against["tokens"] == 1.2
    assert against["repetition"] == pytest.approx(0.1)
    assert against["perplexity"] == pytest.approx(2.7183, abs=1e-3)
    assert against["facts"] == pytest.approx(-0.1)
    assert against["relevance"] is None


def test_the_summary_has_means_and_worst_cases() -> None:
    short = measured("sentences(at_most=2)", steered=[answer(True, 2), answer(False, 2)])
    rows = [figures_of(measured()), figures_of(short)]
    pair = pair_of(
        {
            "what": {"of": [one["what"] for one in (measured(), short)]},
            "conditions": {"steered": [answer(True), answer(False)]},
        }
    )
    assert pair["instructions"] == ["no_commas", "sentences(at_most=2)"]
    found = summary_of(rows, [pair])
    steered = found["conditions"]["steered"]
    assert steered["followed"] == {"mean": 0.75, "worst": 0.5}
    assert steered["tokens"] == {"mean": 1.2, "worst": 1.2}  # the other one is about length
    assert steered["facts"]["worst"] == pytest.approx(-0.1)
    assert found["below_told"] == ["no_commas", "sentences(at_most=2)"]
    assert found["pairs"] == {"count": 1, "followed": {"mean": 0.5, "worst": 0.5}}
    fitted = pair | {"composed": 1.0}
    found = summary_of(rows, [pair, fitted])
    assert found["pairs"]["composed"] == {
        "mean": 1.0,
        "worst": 1.0,
    }  # one of the two could not be put together


def test_scores_are_added_once_and_kept(tmp_path: Path) -> None:
    loaded: list[str] = []

    def load(name: str) -> Any:
        loaded.append(name)
        return trimtab.load("nano", device="cpu")

    def asked() -> list[dict[str, Any]]:
        texts = ["It is a river.", "It is a town."]
        return [
            {"conditions": {"baseline": [answer(True, query="What is it?", text=text) for text in texts]}}
        ]

    found = asked()
    add_scores(found, 1, "nano", load, tmp_path, lambda *_: None)
    first, second = found[0]["conditions"]["baseline"]
    assert first["scorer_nll"] > 0
    assert isinstance(first["relevance"], float)
    assert "relevance" not in second
    again = asked()
    add_scores(again, 1, "nano", load, tmp_path, lambda *_: None)
    assert again[0]["conditions"]["baseline"][0] == first
    assert loaded == ["nano"]


# --- the whole -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measurement of two instructions on nano, of next to nothing."""
    out = tmp_path_factory.mktemp("real")
    arguments = ["--model", "nano", "-i", "no_commas,lowercase", *TINY, *LEARN, "--out", str(out)]
    assert run(main.command, "real", arguments) == 0
    return out


def test_everything_is_measured_and_written(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    assert [one["instruction"] for one in result["instructions"]] == ["no_commas", "lowercase"]
    for one in result["instructions"]:
        assert {"baseline", "instructed", "steered", "instructed+steered"} <= set(one["conditions"])
        assert {row["n"] for row in one["conditions"].values()} == {3}
        assert one["seconds"] > 0
    assert [pair["instructions"] for pair in result["pairs"]] == [["no_commas", "lowercase"]]
    assert result["settings"]["learn"][:2] == ["--pairs", "12"]
    plain = [
        json.loads((folder / "measured" / f"{name}.json").read_text())["conditions"]["baseline"]
        for name in ("no_commas", "lowercase")
    ]
    assert [one["text"] for one in plain[0]] == [one["text"] for one in plain[1]]


def test_what_is_finished_is_not_done_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("it was done again")

    out = tmp_path / "real"
    shutil.copytree(folder, out)
    before = (out / "result.json").read_text()
    monkeypatch.setattr("benchmarks.learning._run", never)
    monkeypatch.setattr(main.Loading, "open", never)
    arguments = ["--model", "nano", "-i", "no_commas,lowercase", *TINY, *LEARN, "--out", str(out)]
    assert run(main.command, "real", arguments) == 0
    assert (out / "result.json").read_text() == before
    with pytest.raises(AssertionError, match="done again"):  # other settings are another measurement
        run(main.command, "real", [*arguments, "--seed", "1"])


def test_pairs_are_put_together_too(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "real"
    shutil.copytree(folder, out)
    arguments = ["--model", "nano", "-i", "no_commas,lowercase", *TINY, *LEARN, "--out", str(out)]
    assert run(main.command, "real", [*arguments, "--compose", "--fit never"]) == 0
    result = json.loads((out / "result.json").read_text())
    [pair] = result["pairs"]
    assert pair["composed"] == pair["followed"]  # what is but added up is the union
    assert (out / "steerings" / "no_commas+lowercase" / "steering.json").is_file()
    assert "| pair | by the union | by `trimtab compose` |" in pairs_table(result)
    assert "Put together by `trimtab compose` (`--fit never`): " in markdown(result)


def test_what_cannot_be_learned_is_shown_as_that(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--model",
        "nano",
        "-i",
        "no_commas",
        *TINY,
        "--learn",
        "--blocks 99",
        "--out",
        str(tmp_path),
    ]
    assert run(main.command, "real", arguments) == 0
    [one] = json.loads((tmp_path / "result.json").read_text())["instructions"]
    assert "99" in one["refused"]
    assert "steered" not in one["conditions"]
    assert one["conditions"]["instructed"]["n"] == 3
    said = f"`no_commas` could not be learned, and is in no mean of steered ones: {one['refused']}."
    assert said in (tmp_path / "table.md").read_text()
    assert f"error: {one['refused']}" in capfd.readouterr().err


def test_learning_that_breaks_ends_the_measurement(tmp_path: Path) -> None:
    [one] = instructions_for("nano", "no_commas")
    with pytest.raises(TrimtabError, match="trimtab learn no_commas ended with 2"):
        learned("nano", one, tmp_path, lambda *_: None, options=["--no-such-option"])


def test_the_table_goes_into_its_place(folder: Path, tmp_path: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    table = markdown(result)
    assert table.startswith("| instruction | teacher | plain | told | **steered** | told + steered |")
    assert "| `no_commas` | " in table
    assert "It was given `--pairs 12" in table
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- real nano -->\nold\n<!-- end -->\nafter\n")
    assert run(fill, "table", [str(folder / "result.json"), "--into", str(page)]) == 0
    assert page.read_text() == f"before\n<!-- real nano -->\n{table}\n<!-- end -->\nafter\n"
    page.write_text("no place\n")
    assert run(fill, "table", [str(folder / "result.json"), "--into", str(page)]) == 2
    with pytest.raises(TrimtabError, match="there is no place <!-- real nano -->"):
        into("", "real nano", table)
