"""benchmarks/tones: what it measures and counts, on a tiny model, with steerings that are there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.running import run
from benchmarks.tones import __main__ as tones
from benchmarks.tones.settings import CHECKED, METHODS, TONES, Settings
from benchmarks.tones.table import command as fill
from benchmarks.tones.table import markdown
from tests.evaluate.endpoint import Endpoint, serving
from tests.tiny import random_steering, tiny_engine

from trimtab import instructions
from trimtab.instructions.spelling import resolve_all

PIRATE = instructions.get("pirate")
assert PIRATE.question is not None
EXAMPLES = {**dict.fromkeys(PIRATE.question.follows, "Yes"), **dict.fromkeys(PIRATE.question.fails, "No")}


def rule(prompt: str, body: dict[str, Any]) -> str:
    """Right about the contrast examples; of all else, says yes to the longer half."""
    text = prompt.split("Here is a text:")[1].rsplit("Is the text", 1)[0].strip()
    return EXAMPLES.get(text, "Yes" if len(text) > 20 else "No")


def kept(folder: Path, name: str, options: str, told: dict[str, Any]) -> Path:
    """Marks a steering as learned by these options, in float32."""
    asked = {"model": "tiny", "learn": [*options.split(), "--dtype", "float32"], "seed": 0}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.learned.json").write_text(json.dumps({"asked": asked, "told": told}))
    return folder / name


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in which `pirate` is distilled already and could not be learned by contrast, beside `lowercase`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engine = tiny_engine("llama", max_position_embeddings=512)

    class Loading:
        def __init__(self, dtype: str | None) -> None:
            assert dtype == "float32"

        def open(self, output: Any, name: str) -> Any:
            return engine

    monkeypatch.setattr(tones, "Loading", Loading)
    steerings = tmp_path / "out" / "steerings"
    kept(steerings / "contrast", "pirate", METHODS["contrast"], {"refused": "it is tiny", "seconds": 1.0})
    place = kept(steerings / "distill", "pirate", METHODS["distill"], {"seconds": 90.0})
    random_steering(engine, strength=2.0, name="pirate").save(place)
    place = kept(steerings / "checked", "lowercase", CHECKED, {"seconds": 60.0})
    random_steering(engine, seed=1, name="lowercase").save(place)
    return tmp_path / "out"


def measure(out: Path, endpoint: Endpoint, *more: str) -> int:
    arguments = [
        "--model",
        "tiny",
        "-i",
        "pirate",
        "--composed",
        "lowercase",
        "--queries",
        "3",
        "--tokens",
        "24",
        "--dtype",
        "float32",
    ]
    judge = ["--judged-by", f"wise@{endpoint.url}"]
    return run(tones.command, "tones", [*arguments, *judge, "--out", str(out), *more])


def test_a_tone_is_measured_by_each_method_and_composed(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(rule) as endpoint:
        assert measure(out, endpoint) == 0
        asked = len(endpoint.prompts)
        assert measure(out, endpoint) == 0
        assert len(endpoint.prompts) == asked  # nothing is judged twice
    assert "the judge reads up to 27 answers" in capsys.readouterr().err
    result = json.loads((out / "result.json").read_text("utf-8"))
    (tone,) = result["tones"]
    assert [(row["condition"], row["method"]) for row in tone["rows"]] == [
        ("baseline", None),
        ("instructed", None),
        ("steered", "distill"),
        ("instructed+steered", "distill"),
    ]
    assert tone["refused"] == {"contrast": "it is tiny"}
    assert (tone["agreement"]["tone"], tone["agreement"]["n"]) == ("pirate", 16)
    for row in tone["rows"]:
        passed = [len(one["text"].strip()) > 20 for one in row["answers"]]
        assert (row["n"], row["followed"], row["all"]) == (3, [sum(passed)], sum(passed))
    (both,) = result["composed"]
    assert (both["tone"], both["other"], both["method"]) == ("pirate", "lowercase", "distill")
    for row in both["rows"]:
        lower = [instructions.get("lowercase").check(one["text"]) for one in row["answers"]]
        longer = [len(one["text"].strip()) > 20 for one in row["answers"]]
        assert row["followed"] == [sum(longer), sum(lower)]
        assert row["all"] == sum(a and b for a, b in zip(longer, lower, strict=True))
    table = (out / "table.md").read_text("utf-8")
    assert "`pirate` could not be learned by contrast: it is tiny." in table
    assert "| `pirate` | told and steered | distill |" in table
    assert "| `pirate` and `lowercase` | steered |" in table
    page = out / "page.md"
    page.write_text("before\n<!-- tones tiny -->\nold\n<!-- end -->\nafter\n")
    assert run(fill, "table", [str(out / "result.json"), "--into", str(page)]) == 0
    assert page.read_text("utf-8") == f"before\n<!-- tones tiny -->\n{table}<!-- end -->\nafter\n"


def test_a_trial_is_less_of_everything_and_says_so() -> None:
    settings = Settings(
        "smollm2",
        tuple(resolve_all(TONES)),
        tuple(resolve_all("json,lowercase")),
        queries=8,
        tokens=80,
        judge="wise",
        methods={name: tuple(options.split()) for name, options in METHODS.items()},
        checked=tuple(CHECKED.split()),
    )
    trial = settings.trial_of(0.1)
    assert (len(trial.tones), len(trial.composed), trial.queries, trial.trial) == (1, 1, 2, True)
    assert settings.judgements == 4 * 6 * 8 + 2 * 3 * 8
    assert settings.trial_of(1.0) is settings
    assert "A trial" in markdown({"settings": trial.to_dict(), "tones": [], "composed": []})


@pytest.mark.parametrize(
    ("options", "message"),
    [(["-i", "json"], "json has a check"), (["--methods", "wishing"], "--methods are contrast, distill")],
)
def test_a_mistake_is_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tones.command, "tones", options) == 2
    assert message in " ".join(capsys.readouterr().err.split())
