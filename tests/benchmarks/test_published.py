"""Counting the authors' outputs again, on a small repository of the same shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.published import FORMAT, Repository, recount

from trimtab.errors import TrimtabError

TEXT = "one two three"


class Small(Repository):
    """Few answers in every file: one in lowercase, one with a comma that is said to have none, and one to leave out."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))

    def rows(self, path: str, commit: str = "") -> list[dict[str, Any]]:
        def row(id_: str, response: str, **more: Any) -> dict[str, Any]:
            return {"prompt": "q", "instruction_id_list": [id_], "kwargs": [{}], "response": response, **more}

        if path.startswith("length"):
            return [{"length_constraint": n, "response": "One is here. Two is here."} for n in range(5)]
        if path.startswith("composition"):
            return [
                row(
                    FORMAT[2], TEXT, follow_all_instructions=True, response_length_sent=1, length_constraint=0
                ),
                row(
                    FORMAT[2], TEXT, follow_all_instructions=True, response_length_sent=3, length_constraint=0
                ),
            ]
        if path.startswith("keywords"):
            words = {"keywords": ["two"]} if "existence" in path else {"forbidden_words": ["two"]}
            id_ = "keywords:existence" if "existence" in path else "keywords:forbidden_words"
            return [row(id_, TEXT, kwargs=[words], follow_all_instructions=True)]
        return [
            *(row(id_, f"{TEXT} {id_}", follow_all_instructions=id_ == FORMAT[2]) for id_ in FORMAT[2:3]),
            row(FORMAT[10], "a, b", follow_all_instructions=True),
            row("combination:two_responses", "x", follow_all_instructions=True),
        ]


def test_verdicts_are_counted_and_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.published.FORMAT", [FORMAT[2], FORMAT[10]])
    models, agreed = recount(Small())
    assert models["mistral-7b"]["format"]["strict"] == {
        "n": 2,
        "followed": dict.fromkeys(("baseline", "instructed", "steered", "instructed+steered"), 2),
    }
    assert models["phi-3"]["format by instruction"][FORMAT[2]]["n"] == 1
    assert models["phi-3"]["composition"]["no steering, with text"]["followed"] == {
        "format followed": 2,
        "within the limit": 1,
        "both": 1,
    }
    limits = [row["followed"]["instructed"] for row in models["phi-3"]["length"].values()]
    assert limits == [0, 1, 1, 1, 1]
    # "a, b" has a comma: there the verdict of the files is not that of the check.
    assert agreed["format, loose"] == (16, 32)
    # The word is there: the one who was to leave it out did not.
    assert agreed["words, strict"] == (8, 16)
    assert agreed["at most so many sentences"] == (10, 10)


def test_a_folder_that_is_no_clone_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrimtabError, match="full clone of microsoft/llm-steer-instruct"):
        Repository(tmp_path).rows("a.jsonl")
