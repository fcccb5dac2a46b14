"""How a model is loaded, on the command line: the same options for every command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trimtab
from trimtab.errors import ModelError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def load(model: str, **options: Any) -> Any:
        seen.update(model=model, **options)
        raise ModelError("stop here")

    monkeypatch.setattr(trimtab, "load", load)
    return seen


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "hi"),
        ("follow", "hi", "--instructions", "lowercase"),
        ("learn", "lowercase", "--out", "{out}"),
        ("tune", "lowercase", "--out", "{out}"),
        ("evaluate",),
        ("demo",),
    ],
)
def test_every_command_has_them(
    run: Callable[..., Any], asked: dict[str, Any], tmp_path: Path, command: tuple[str, ...]
) -> None:
    words = [word.format(out=tmp_path / "out") for word in command]
    result = run(*words, "-m", "x", "--quantization", "4bit", "--device-map", '{"": "cpu"}')
    assert "stop here" in result.stderr, result.output
    assert (asked["quantization"], asked["device_map"]) == ("4bit", {"": "cpu"})
    assert "device" not in asked


def test_a_map_that_is_no_json(run: Callable[..., Any], asked: dict[str, Any]) -> None:
    result = run("generate", "hi", "--device-map", "{x")
    assert result.exit_code == 2
    assert "--device-map is no JSON object" in result.stderr.replace("\n", " ")


def test_template_options(run: Callable[..., Any], asked: dict[str, Any]) -> None:
    run("generate", "hi", "--template-options", '{"enable_thinking": false}')
    assert asked["template_options"] == {"enable_thinking": False}
    result = run("generate", "hi", "--template-options", "[1]")
    assert result.exit_code == 2
    assert "takes a JSON object" in result.stderr
