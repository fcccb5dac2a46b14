from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from tests.tiny import tiny_tokenizer

from trimtab.errors import ModelError
from trimtab.thoughts import Reader, ThoughtFormat, find, format_of, formats, names_of_formats, register


def test_a_format_is_known_by_the_vocabulary_or_the_template() -> None:
    assert format_of(tiny_tokenizer()).name == "plain"
    with_tokens = tiny_tokenizer()
    with_tokens.add_tokens(["[THINK]", "[/THINK]"])
    assert format_of(with_tokens).name == "magistral"
    assert format_of(tiny_tokenizer("{{ messages }}<|channel|>")).name == "harmony"
    with_tokens = tiny_tokenizer()
    with_tokens.add_tokens(["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>"])
    assert format_of(with_tokens).name == "gemma"
    named = tiny_tokenizer()
    named.chat_template = {"default": "", "thinking": "<think>"}
    assert format_of(named).name == "think"
    assert format_of(named, "plain").name == "plain"


def test_a_registered_format_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_registered", {})
    own = register(ThoughtFormat.tags("own", "<think>", "</pondered>"))
    assert names_of_formats()[0] == "own"
    assert format_of(tiny_tokenizer("<think>")) is own
    for taken in ("own", "think"):
        with pytest.raises(ModelError, match="already"):
            register(ThoughtFormat.tags(taken, "a", "b"))


def test_formats_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "provided", ThoughtFormat.tags("provided", "<a>", "<b>"), raising=False)
    points = EntryPoints(
        EntryPoint(name, f"trimtab.thoughts.formats:{value}", formats.ENTRY_POINT_GROUP)
        for name, value in (("provided", "provided"), ("wrong", "CALLS"), ("missing", "nothing"))
    )

    def entry_points(group: str, name: str | None = None) -> EntryPoints:
        return points.select(group=group, **({} if name is None else {"name": name}))

    monkeypatch.setattr(formats, "entry_points", entry_points)
    assert find("provided").name == "provided"
    with pytest.raises(ModelError, match=r"'wrong'.* is a tuple"):
        find("wrong")
    with pytest.raises(ModelError, match=r"'missing'.*cannot be loaded"):
        find("missing")


def test_one_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ModelError, match=r"no thought format 'thnk'; there are .*think"):
        find("thnk")


def test_a_format_may_be_given_by_its_marks() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("<ponder>hm</ponder>yes", add_special_tokens=False)["input_ids"]
    parts = Reader(tokenizer, "<ponder>...</ponder>").parts(ids)
    assert (parts.thought, parts.answer) == ("hm", "yes")
    never_opens = Reader(tokenizer, "...</ponder>")
    parts = never_opens.parts(tokenizer("hm</ponder>yes", add_special_tokens=False)["input_ids"])
    assert (parts.thought, parts.answer) == ("hm", "yes")
    assert never_opens.parts(tokenizer("hm", add_special_tokens=False)["input_ids"]).answer == ""
    assert ThoughtFormat.from_dict(never_opens.form.to_dict()) == never_opens.form
    assert (
        find("<ponder>...</ponder>").name == "<ponder>...</ponder>"
    )  # what a record says can be given again
    for spelled in ("...", "<ponder>...", "a...a", "a...b...c"):
        with pytest.raises(ModelError, match="spells no thought format"):
            find(spelled)


@pytest.mark.parametrize("name", names_of_formats())
def test_json_and_back(name: str) -> None:
    import json

    form = find(name)
    assert ThoughtFormat.from_dict(json.loads(json.dumps(form.to_dict()))) == form


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"begins": "elsewhere"}, "does not say in `kinds` what the part 'elsewhere' is"),
        ({"kinds": {"answer": "answer", "b": "thinking"}}, "of the kind 'thinking'"),
        ({"kinds": {"answer": "answer", "b": "open"}}, "only the part in which it begins may be open"),
        ({"kinds": {"answer": "thought"}}, "no part that is the answer"),
        ({"rules": [["answer", "", "answer"]]}, "an empty mark"),
        ({"rules": 5}, "this is no thought format"),
        ({"colour": "red"}, "this is no thought format"),
    ],
)
def test_what_does_not_hang_together(changes: dict[str, Any], message: str) -> None:
    whole = {"name": "x", "begins": "answer", "kinds": {"answer": "answer"}, "rules": []}
    with pytest.raises(ModelError, match=message):
        ThoughtFormat.from_dict({**whole, **changes})
