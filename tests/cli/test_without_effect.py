"""An option that would have no effect, and an output that cannot be written, are refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "what ?", "--strength", "5"), "--strength is of a steering"),
        (("evaluate", "--strengths", "2"), "--strengths are of steerings"),
        (("learn", "json", "--pairs", "7", "--out", "{folder}/x"), "--pairs 7 is too few"),
        (("generate", "what ?", "--json", "{folder}/" + "x" * 300), "cannot write"),
        (("learn", "json", "--out", "{folder}/" + "x" * 300), "cannot write"),
        (("evaluate", "--report", "{folder}/" + "x" * 300), "cannot write"),
    ],
)
def test_it_is_refused(
    run: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = run(*(one.format(folder=tmp_path) for one in arguments))
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
