"""SmolLM2 through the doors that a user takes: loading, answering, a short `trimtab learn`, and what it learned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import trimtab
from trimtab.engines import published
from trimtab.steering.steering import Steering

QUESTION = "What is the capital of France?"
OPEN_QUESTION = "How do I bake bread?"  # a few steps from zero change what is less certain than a capital


def command(*arguments: object) -> str:
    """Standard output of a command, which must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "trimtab", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_is_the_one_that_is_known(smollm2_file: Path) -> None:
    one = published.find("smollm2")
    assert published.digest(smollm2_file) == one.sha256
    assert (smollm2_file.name, smollm2_file.stat().st_size) == (one.file, one.size)


def test_its_name_and_its_file_are_one_model(engine: Any, smollm2_file: Path) -> None:
    identity = engine.identity
    assert (identity.blocks, identity.width) == (30, 576)
    by_file = trimtab.load(smollm2_file, device="cpu", dtype="bfloat16")
    assert by_file.identity.id == identity.id == smollm2_file.name
    assert by_file.identity.weights == identity.weights
    assert {one.dtype for one in by_file.model.parameters()} == {torch.bfloat16}


def test_it_answers_in_its_own_template_and_ends(engine: Any) -> None:
    [answer] = engine.generate([QUESTION], max_new_tokens=60)
    assert "Paris" in answer.text
    assert answer.finished
    assert "<|im_end|>" not in answer.text
    [raw] = engine.generate(["Once upon a time"], max_new_tokens=8, raw=True)
    assert raw.text


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The steering of a course that is too short to be any good, and what learning told."""
    folder = tmp_path_factory.mktemp("steerings") / "no-commas"
    out = command(
        *("learn", "no_commas", "--model", "smollm2", "--out", folder, "--json", "-"),
        *("--teacher", "constrained", "--pairs", 10, "--validation", 3, "--steps", 6),
        *("--max-new-tokens", 48, "--blocks", "8,16,24", "--rank", 1, "--dtype", "float32"),
    )
    return folder, json.loads(out)


def test_a_short_course_brings_it_nearer_to_the_instruction(learned: tuple[Path, dict[str, Any]]) -> None:
    _, told = learned
    losses = [step["loss"] for step in told["trials"][0]["history"]]
    assert sum(losses[3:]) / 3 < losses[0]
    assert told["model"]["blocks"] == 30


def test_what_was_learned_changes_answers_and_is_for_this_model_only(
    learned: tuple[Path, dict[str, Any]], engine: Any
) -> None:
    folder, _ = learned
    steering = Steering.load(folder, engine.identity)
    assert steering.blocks == (8, 16, 24)
    plain, steered = engine.generate([OPEN_QUESTION] * 2, steering=[None, steering * 3], max_new_tokens=24)
    assert plain.token_ids != steered.token_ids
    written = command(
        *("generate", OPEN_QUESTION, "--model", "smollm2", "--steering", folder, "--strength", 3),
        *("--max-new-tokens", 24, "--dtype", "float32", "--quiet"),
    )
    assert written.strip() == steered.text.strip()
