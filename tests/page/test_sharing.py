from __future__ import annotations

import shlex

import pytest

from trimtab.page.sharing import State, read, snippets


def test_a_state_comes_back_from_its_address() -> None:
    from urllib.parse import parse_qs

    state = State('Is "a & b" = 1?', {"json": 0.8, 'include(word="x;")': 1.0}, "look")
    values = {key: value[0] for key, value in parse_qs(state.address()).items()}
    found = read(values)
    assert (found.question, found.tab) == (state.question, "look")
    assert found.picked["json"] == 0.8
    assert State().address() == ""


@pytest.mark.parametrize(
    ("written", "picked"),
    [("", {}), ("json", {"json": 1.0}), ("a*2;b*x;c*inf;;d*-1", {"a": 2.0, "d": -1.0}), ("*3", {})],
)
def test_an_address_is_read_with_care(written: str, picked: dict[str, float]) -> None:
    assert read({"s": written}).picked == picked


def test_the_same_in_code() -> None:
    found = snippets("nano", "It's what?", {"json": 0.8, "lowercase": 1.0}, "http://host:1/", key=True)
    assert (
        "steering = 0.8 * trimtab.Steering.load('json') + trimtab.Steering.load('lowercase')" in found.python
    )
    compile(found.python, "snippet", "exec")
    assert shlex.split(found.command)[:3] == ["trimtab", "generate", "It's what?"]
    assert shlex.split(found.command)[-2:] == ["--strength", "0.8,1"]
    words = shlex.split(found.curl.replace("\\\n", ""))
    assert words[1] == "http://host:1/v1/chat/completions"
    assert '"model": "nano:json*0.8+lowercase"' in words[-1]
    assert "Authorization: Bearer $KEY" in words
