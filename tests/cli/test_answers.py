"""Answers to many prompts are kept as they come, and a run that was killed goes on to the very same file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.cli import answers, generate
from trimtab.cli.answers import AnswerFile, portions
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import TrimtabError

QUESTIONS = [f"what is {word}" for word in "a the river city name of and say it".split()]
Ask = Callable[..., Any]


@pytest.fixture
def ask(run: Callable[..., Any], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks nine questions in portions of two, sampled, and keeps the answers in a file of the name."""
    monkeypatch.setattr(generate, "PORTION", 8)
    (tmp_path / "questions.txt").write_text("\n".join(QUESTIONS))

    def asking(name: str, *more: object) -> Any:
        sampled = ("--sample", "--seed", 3, "--max-new-tokens", 6)
        place = tmp_path / name
        return run(
            *("generate", "-m", model_folder, "--prompts", tmp_path / "questions.txt", "--out", place),
            *(more or sampled),
        )

    return asking


def killed_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = TransformersEngine.generate, []

    def generating(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > count:
            raise KeyboardInterrupt
        return whole(self, *arguments, **options)

    monkeypatch.setattr(TransformersEngine, "generate", generating)


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_a_killed_run_goes_on_to_the_very_same_file(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    assert ask("whole.jsonl").exit_code == 0
    with monkeypatch.context() as patch:
        killed_after(3, patch)
        assert ask("again.jsonl").exit_code == 130
    kept = (tmp_path / "again.jsonl").read_bytes()
    assert len(kept.splitlines()) == 6
    (tmp_path / "again.jsonl").write_bytes(kept[: len(kept) - cut])
    asked: list[int] = []
    whole = TransformersEngine.generate

    def counted(self: Any, prompts: Any, **options: Any) -> Any:
        asked.append(len(prompts))
        return whole(self, prompts, **options)

    monkeypatch.setattr(TransformersEngine, "generate", counted)
    assert ask("again.jsonl").exit_code == 0
    assert asked == [2] * bool(cut) + [2, 1]
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == QUESTIONS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.jsonl", "questions.txt", "whole.jsonl"]
    assert ask("again.jsonl").exit_code == 0
    assert asked == [2] * bool(cut) + [2, 1]


def test_answers_of_other_settings_are_not_mixed_in(ask: Ask, tmp_path: Path) -> None:
    assert ask("a.jsonl").exit_code == 0
    before = (tmp_path / "a.jsonl").read_bytes()
    result = ask("a.jsonl", "--max-new-tokens", 7)
    assert (result.exit_code, "line 1, is of other prompts or settings" in result.stderr) == (2, True)
    (tmp_path / "questions.txt").write_text("\n".join(reversed(QUESTIONS)))
    assert ask("a.jsonl").exit_code == 2
    assert (tmp_path / "a.jsonl").read_bytes() == before


def test_what_holds_something_else_stays(ask: Ask, tmp_path: Path) -> None:
    for content in (b"my notes\n", b"{}\n", b"\xff\xfe\n", b"[1]\n"):
        (tmp_path / "mine").write_bytes(content)
        assert ask("mine").exit_code == 2
        assert (tmp_path / "mine").read_bytes() == content
    (tmp_path / "folder").mkdir()
    assert ask("folder").exit_code == 2


def test_two_processes_do_not_write_one_file(ask: Ask, tmp_path: Path) -> None:
    held = AnswerFile(tmp_path / "a.jsonl", "run", QUESTIONS, 1, 2)
    result = ask("a.jsonl")
    assert (result.exit_code, "another process writes" in result.stderr) == (2, True)
    held.close()
    assert ask("a.jsonl").exit_code == 0


def test_all_of_them_are_in_the_json_too(ask: Ask, tmp_path: Path) -> None:
    few = ("--max-new-tokens", 3, "--json", tmp_path / "all.json")
    assert ask("a.jsonl", *few).exit_code == 0
    document = json.loads((tmp_path / "all.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert document["responses"] == [{key: row[key] for key in row if key != "run"} for row in lines]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = AnswerFile(tmp_path / "a.jsonl", "run", QUESTIONS, 1, 2)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answers.os, "fsync", full)
    with pytest.raises(TrimtabError, match="No space left on device; make room: the same command goes on"):
        kept.append([{"prompt": "a"}], json.dumps)
    kept.close()


def test_out_is_for_many_prompts(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("generate", "why", "--out", tmp_path / "a.jsonl")
    assert (result.exit_code, "--prompts" in result.stderr) == (2, True)


@pytest.mark.parametrize(("count", "size"), [(0, 3), (1, 3), (3, 3), (7, 3)])
def test_portions_hold_every_place_once(count: int, size: int) -> None:
    found = portions(count, size)
    assert [place for places in found for place in places] == list(range(count))
    assert all(0 < len(places) <= size for places in found)
