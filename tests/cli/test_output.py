from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli import output as module
from trimtab.cli.output import Output, to_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(JSON)
def test_plain_json_survives(data: Any) -> None:
    assert json.loads(to_json(data)) == data


def test_what_is_not_plain_becomes_so() -> None:
    @dataclasses.dataclass
    class Boat:
        name: str
        length: float

    class Harbour:
        def to_dict(self) -> dict[str, Any]:
            return {"boats": (Boat("Ida", 7.5),)}

    data = {
        "harbour": Harbour(),
        "path": Path("a/b"),
        "set": {"b", "a"},
        "scalar": torch.tensor(1.5),
        "vector": torch.tensor([1, 2]),
        3: (x for x in "ab"),
    }
    assert json.loads(to_json(data)) == {
        "harbour": {"boats": [{"name": "Ida", "length": 7.5}]},
        "path": "a/b",
        "set": ["a", "b"],
        "scalar": 1.5,
        "vector": [1, 2],
        "3": ["a", "b"],
    }


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, torch.tensor(math.nan)])
def test_numbers_json_lacks_become_null(number: Any) -> None:
    assert to_json({"x": number}) == '{"x": null}'


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json({"x": object()})


def test_print_is_for_people_only(capsys: pytest.CaptureFixture[str]) -> None:
    Output().print("[bold] is text, not markup")
    assert capsys.readouterr().out == "[bold] is text, not markup\n"
    Output(quiet=True).print("hidden")
    Output(json="-").print("hidden")
    assert capsys.readouterr().out == ""


def test_bare_text_is_the_result_and_shows_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    Output(quiet=True).text("answer")
    Output(json="-").text("hidden")
    assert capsys.readouterr().out == "answer\n"


def test_notes_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json="-").note("by the way")
    Output(quiet=True).note("hidden")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "by the way\n")


def test_result_on_standard_output_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json="-", quiet=True).result({"word": "été"})
    assert capsys.readouterr().out == '{\n  "word": "été"\n}\n'


def test_lines_are_one_document_each(tmp_path: Path) -> None:
    Output(json=str(tmp_path / "rows.jsonl")).lines([{"a": "x\ny"}, {"a": 2}])
    assert (tmp_path / "rows.jsonl").read_text() == '{"a": "x\\ny"}\n{"a": 2}\n'


def test_without_a_target_nothing_is_rendered(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result(object())
    assert capsys.readouterr().out == ""


def test_an_impossible_target_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="is a folder"):
        module._json_path(str(tmp_path))
    with pytest.raises(typer.BadParameter, match="does not exist"):
        module._json_path(str(tmp_path / "missing" / "x.json"))
    assert module._json_path("-") == "-"
    assert module._json_path(str(tmp_path / "x.json")) == str(tmp_path / "x.json")


def test_progress_is_a_line_for_each_stage_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(json="-").progress() as tell:
        for done in range(3):
            tell("rowing", done, 2)
        tell("resting", 0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "[   0 s] rowing\n[   0 s] resting\n"


def test_quiet_commands_tell_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(quiet=True).progress() as tell:
        tell("rowing", 1, 2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_progress_shows_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Output(json="-").progress() as tell:
        tell("rowing", 2, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "rowing" in captured.err


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "utf-8", "UTF8", "utf-16"])
def test_json_on_standard_output_is_json_in_every_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", newline="")
    monkeypatch.setattr("sys.stdout", stream)
    Output(json="-").result({"text": "\U0001f680 \u00e9 \u2028"})
    stream.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == {"text": "\U0001f680 \u00e9 \u2028"}


def test_half_a_character_is_escaped_and_lost_nowhere(tmp_path: Path) -> None:
    Output(json=str(tmp_path / "r.json")).result({"text": "a \ud800 \u00e9"})
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == {"text": "a \ud800 \u00e9"}
