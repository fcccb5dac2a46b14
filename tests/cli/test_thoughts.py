"""Models that think, through the commands: what is shown where there is no answer, and formats that a user gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import VOCABULARY, thinking_tokenizer, tiny_model

import trimtab
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

Run = Callable[..., Any]
OPENED = "<answer><think>\n "
"""What the template writes behind the question."""


@pytest.fixture(scope="session")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose chat template opens a thought, which it does not close."""
    folder = tmp_path_factory.mktemp("thinker") / "thinker"
    tiny_model("llama", vocab_size=VOCABULARY + 8, max_position_embeddings=512).save_pretrained(folder)
    thinking_tokenizer().save_pretrained(folder)
    return folder


def test_a_thought_without_an_answer_is_said(run: Run, thinker: Path, tmp_path: Path) -> None:
    options = ("--model", thinker, "--device", "cpu", "--max-new-tokens", 8)
    result = run("generate", "hi", *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == ""
    flat = " ".join(result.stderr.split())
    assert "the answer is empty: the model was still thinking after 8 tokens" in flat
    assert "--max-new-tokens" in flat
    result = run("generate", "hi", *options, "--json", "-")
    (row,) = json.loads(result.stdout)["responses"]
    assert (row["response"], row["finished"]) == ("", False)
    assert row["thought"]
    assert "1 of 1 answers are empty: the model was still thinking" in " ".join(result.stderr.split())
    result = run("follow", "hi", "-i", "json", *options, "--budget", 1, "--no-constrain")
    assert result.exit_code == 1, result.output
    assert "still thinking after 8 tokens" in " ".join(result.stderr.split())
    suite = tmp_path / "suite.jsonl"
    suite.write_text(json.dumps({"query": "who ?", "instructions": ["no_commas"]}) + "\n")
    result = run("evaluate", "--suite", suite, *options, "--no-cache")
    assert result.exit_code == 0, result.output
    assert "2 of 2 answers are empty: the model was still thinking" in " ".join(result.stderr.split())


def test_a_user_gives_the_marks_of_a_format(run: Run, thinker: Path) -> None:
    """Of a model whose marks nobody knows: here it is said to think until it writes a certain character."""
    options = ("generate", "hi", "--model", thinker, "--device", "cpu", "--max-new-tokens", 40, "--json", "-")
    (whole,) = json.loads(run(*options, "--thoughts", "plain").stdout)["responses"]
    assert "thought" not in whole
    mark = next(
        one for one in whole["response"][3:] if one.isascii() and one.isprintable() and one not in OPENED
    )
    result = run(*options, "--thoughts", f"...{mark}")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["responses"]
    before, after = whole["response"].split(mark, 1)
    assert (row["thought"], row["response"]) == (before.strip(), after.lstrip())


@pytest.mark.parametrize("spelled", ["no-such-format", "...", "<a>..."])
def test_a_format_that_is_none_is_one_line_before_the_model_is_loaded(run: Run, spelled: str) -> None:
    result = run("generate", "hi", "--model", "nano", "--thoughts", spelled)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "thought format" in result.stderr
    assert "<ponder>...</ponder>" in result.stderr


def test_a_steering_of_the_answer_does_nothing_to_the_thought(
    run: Run, thinker: Path, tmp_path: Path
) -> None:
    engine = trimtab.load(str(thinker), device="cpu")
    direction = torch.linspace(-1, 1, engine.identity.width)
    late = Steering("late", (Edit.add(1, direction, 40.0, "answer"),), Record(engine.identity))
    early = Steering("early", (Edit.add(1, direction, 40.0, "generated"),), Record(engine.identity))
    found = {}
    for one in (late, early):
        one.save(tmp_path / one.name)
        options = ("--model", thinker, "--device", "cpu", "--max-new-tokens", 8, "--compare", "--json", "-")
        result = run("generate", "hi", "--steering", tmp_path / one.name, *options)
        assert result.exit_code == 0, result.output
        plain, steered = json.loads(result.stdout)["responses"]
        found[one.name] = plain["thought"] == steered["thought"]
    assert found == {"late": True, "early": False}
