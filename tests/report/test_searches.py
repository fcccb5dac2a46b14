from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import TrimtabError
from trimtab.report import searches

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
    found, tried = searches.read(written(tmp_path / "search.json", document))
    assert found == label
    assert [(t.block, t.strength, t.accepted, t.chosen) for t in tried] == [
        (3, 8.0, True, True),
        (2, 8.0, False, False),
    ]
    ((drawn, svg),) = searches.drawings([tmp_path / "search.json"])
    assert drawn == label
    assert svg.startswith("<svg")


def test_the_strength_of_a_finished_steering_has_no_block(tmp_path: Path) -> None:
    scaled = [{"strength": 0.5, "n": 4, "good": 1.0}]
    path = written(
        tmp_path / "s.json", {"instruction": {"name": "of a plug-in", "params": {}}, "candidates": scaled}
    )
    label, (tried,) = searches.read(path)
    assert (label, tried.block, tried.method) == ("of a plug-in", None, "strength")
    assert searches.drawings([path])


def test_searches_beside_steerings_are_found(tmp_path: Path) -> None:
    one = written(tmp_path / "all" / "a" / "search.json", TUNE)
    other = written(tmp_path / "b" / "search.json", TUNE)
    written(tmp_path / "all" / "c" / "steering.json", {})
    assert searches.beside([tmp_path / "all", tmp_path / "b"]) == [one, other]
    assert searches.beside([tmp_path / "missing"]) == []


@pytest.mark.parametrize(
    "document", [{}, [], 3, {"candidates": [{}]}, {"candidates": []}, {"candidates": 3}, {"instructions": 3}]
)
def test_what_is_no_search_is_one_line(tmp_path: Path, document: Any) -> None:
    with pytest.raises(TrimtabError, match=r"holds no search|has no candidates"):
        searches.read(written(tmp_path / "x.json", document))
    with pytest.raises(TrimtabError, match="cannot read"):
        searches.read(tmp_path / "missing.json")
