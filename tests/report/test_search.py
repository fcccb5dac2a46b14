"""The page of a search: whole, alone, and true to what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.report.html_check import Page, check

from trimtab import instructions, tune
from trimtab.errors import TrimtabError
from trimtab.measure.quality import Quality
from trimtab.measure.responses import Response
from trimtab.measure.rows import Row
from trimtab.report import search as search_report
from trimtab.report.search import SearchReport
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering
from trimtab.tune.tuned import Candidate

LOWER = instructions.get("lowercase")
NOTHING = Steering("lowercase", (), Record(ModelIdentity("fake", None, "Fake", 4, 4, "plain")))
NUMBERS = {
    "n": 12,
    "followed": 0.75,
    "loose": 0.75,
    "good": 0.5,
    "quality": Quality(2.5, 0.1, 0.9),
    "score": 0.5,
}
BEST = Candidate(application="add", block=2, strength=4.0, weight=8.25, **NUMBERS)
BROKEN = replace(BEST, block=1, score=-1.0, rejected=True, objections=("12 without an end",))
UNSTEERED = Candidate(strength=0.0, **{**NUMBERS, "followed": 0.25})


def response(text: str) -> Response:
    return Response("What is <tea> & milk?", "What is <tea> & milk?", text, True, 1.0, 0.0, None)


def judged(text: str, *followed: bool) -> Row:
    return Row(LOWER, "steered", None, (response(text),) * len(followed), followed, followed)


def tuned(**changes: object) -> tune.Tuned:
    found = tune.Tuned(
        steering=NOTHING,
        unsteered=UNSTEERED,
        improved=True,
        baseline=judged("Tea.", False, False, False, True),
        instructed=judged("tea.", True),
        steered=judged("tea <script>alert(1)</script>\x00", True),
        rows=42,
        best=BEST,
        candidates=[BEST, BROKEN],
        weights=tune.Weights(computed=BROKEN, manual=BEST, searched=BEST),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


@pytest.fixture
def page() -> tuple[str, Page]:
    source = search_report.render(SearchReport(LOWER, tuned(), {"model": "<fake>", "seed": "0"}))
    return source, check(source)


def test_the_page_is_whole_and_alone(page: tuple[str, Page]) -> None:
    source, parsed = page
    assert "script" not in parsed.tags
    assert "\x00" not in source
    assert parsed.tags.count("svg") == 1
    assert {"map", "weights", "answers", "candidates", "settings"} <= set(parsed.ids)


def test_the_tables_show_every_candidate_and_the_three_weights(page: tuple[str, Page]) -> None:
    rows = [[cell.strip() for cell in row] for row in page[1].cells]
    names = [row[0] for row in rows]
    assert [name for name in names if name in ("none", "computed", "manual", "searched")] == [
        "none",
        "computed",
        "manual",
        "searched",
    ]
    assert ["add", "2", "4", "8.25", "12", "0.75", "0.50", "0.50", "2.5", "0.10", "0.90", ""] in rows
    assert any(row[0] == "add" and row[-1] == "rejected: 12 without an end" for row in rows)


def test_the_summary_says_what_was_chosen_and_what_it_is_worth() -> None:
    text = search_report.summary(SearchReport(LOWER, tuned()))
    assert "Chosen: add at block 2, strength 4" in text
    assert "in 75% of its answers; unsteered in 25%" in text
    worse = search_report.summary(SearchReport(LOWER, tuned(improved=False)))
    assert worse.endswith("No better than steering nothing.")
    none = search_report.summary(SearchReport(LOWER, tuned(best=BROKEN, improved=False)))
    assert "the steering has no edits" in none


def test_a_rejected_best_is_not_shown_as_chosen() -> None:
    found = tuned(best=BROKEN, candidates=[BROKEN], improved=False)
    assert [point.chosen for point in search_report.search_map(LOWER, found).points] == [False]
    assert [line.chosen for line in search_report.lines(found)] == [False]
    check(search_report.render(SearchReport(LOWER, found)))


def test_the_strengths_of_a_finished_steering_have_a_page_too() -> None:
    half, one = Candidate(strength=0.5, **NUMBERS), Candidate(strength=1.0, **NUMBERS)
    shared = {
        name: value for name, value in vars(tuned()).items() if name not in ("best", "candidates", "weights")
    }
    found = tune.Tuned(best=one, candidates=[one, half], **shared)
    assert search_report.weights(found) == []
    source = search_report.render(SearchReport(LOWER, found))
    parsed = check(source)
    assert "weights" not in parsed.ids
    assert parsed.tags.count("rect") == 2
    assert "Chosen: strength 1." in source


CANDIDATES = [
    {
        "application": "add",
        "block": 3,
        "strength": 8.0,
        "n": 12,
        "good": 0.75,
        "rejected": False,
        "score": 0.7,
    },
    {"application": "add", "block": 2, "strength": 8.0, "n": 3, "good": 0.1, "rejected": True, "score": 0.0},
]
TUNE = {"instruction": {"name": "no_commas", "params": {}}, "candidates": CANDIDATES, "best": CANDIDATES[0]}
LEARN = {"instructions": [{"name": "sentences", "params": {"at_most": 2}}], "candidates": CANDIDATES}


def written(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(("document", "label"), [(TUNE, "no_commas"), (LEARN, "sentences(at_most=2)")])
def test_what_tune_and_learn_write_is_read(tmp_path: Path, document: Any, label: str) -> None:
    found = search_report.read(written(tmp_path / "search.json", document))
    assert found.label == label
    assert [(t.block, t.strength, t.accepted, t.chosen) for t in found.points] == [
        (3, 8.0, True, True),
        (2, 8.0, False, False),
    ]
    assert found.drawing.startswith("<svg")


def test_the_strength_of_a_finished_steering_has_no_block(tmp_path: Path) -> None:
    scaled = [{"strength": 0.5, "n": 4, "good": 1.0}]
    path = written(
        tmp_path / "s.json", {"instruction": {"name": "of a plug-in", "params": {}}, "candidates": scaled}
    )
    found = search_report.read(path)
    (tried,) = found.points
    assert (found.label, tried.block, tried.method) == ("of a plug-in", None, "strength")
    assert found.drawing


def test_searches_beside_steerings_are_found(tmp_path: Path) -> None:
    one = written(tmp_path / "all" / "a" / "search.json", TUNE)
    other = written(tmp_path / "b" / "search.json", TUNE)
    written(tmp_path / "all" / "c" / "steering.json", {})
    assert search_report.beside([tmp_path / "all", tmp_path / "b"]) == [one, other]
    assert search_report.beside([tmp_path / "missing"]) == []


@pytest.mark.parametrize(
    "document", [{}, [], 3, {"candidates": [{}]}, {"candidates": []}, {"candidates": 3}, {"instructions": 3}]
)
def test_what_is_no_search_is_one_line(tmp_path: Path, document: Any) -> None:
    with pytest.raises(TrimtabError, match=r"holds no search|has no candidates"):
        search_report.read(written(tmp_path / "x.json", document))
    with pytest.raises(TrimtabError, match="there is no file"):
        search_report.read(tmp_path / "missing.json")
