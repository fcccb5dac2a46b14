"""Judges of tones on a real model: SmolLM2 asked yes or no, and probes on its activations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.on_smollm2.test_commands import command

from trimtab import instructions
from trimtab.measure.judges import ModelJudge, ProbeJudge, agreement, labelled


def test_a_probe_agrees_with_a_person_on_answers_it_has_not_seen(engine: Any) -> None:
    found = {
        one.tone: one for one in agreement(ProbeJudge(engine), labelled(), ["pirate", "simple", "poetic"])
    }
    assert set(found) == {"pirate", "simple", "poetic"}
    for one in found.values():
        assert one.believable
        assert one.share >= 0.75, one


def test_a_probe_is_not_led_by_the_length_of_an_answer(engine: Any) -> None:
    """The contrast examples are short; an answer that is long is no pirate's for that."""
    plain = "Bread is made from flour, water, salt and yeast. " * 6
    pirate = (
        "Arr, matey, ye mix the flour and the water, and ye knead it like the sea be kneadin' yer ship! " * 4
    )
    question = instructions.get("pirate").question
    assert question is not None
    assert [ProbeJudge(engine).passes(question, text) for text in (plain, pirate)] == [False, True]


def test_the_model_says_yes_the_likelier_of_what_is_in_the_tone(engine: Any) -> None:
    """Uncalibrated it may lean to one side; told apart are the sides all the same, on average."""
    question = instructions.get("pirate").question
    assert question is not None
    odds = ModelJudge(engine).ask(question, [*question.follows, *question.fails])
    assert None not in odds
    count = len(question.follows)
    given = [one for one in odds if one is not None]
    assert sum(given[:count]) / count > sum(given[count:]) / len(question.fails)


def test_a_tone_through_the_commands_a_probe_being_the_judge(tmp_path: Path) -> None:
    folder = tmp_path / "pirate"
    judge = ("--model", "smollm2", "--judged-by", "probe")
    learned = json.loads(
        command(
            *("learn", "pirate", "--method", "contrast", "--block", 14, "--strength", 2, "--apply", "add"),
            *("--model", "smollm2", "--out", folder, "--json", "-"),
        )
    )
    assert (learned["method"], learned["settings"]["follows"]) == ("contrast", 8)
    document = json.loads(
        command(
            *("evaluate", "--suite", "base", "--limit", 2, "-s", folder, *judge, "--no-cache"),
            *("--max-new-tokens", 24, "--facts", 0, "--json", "-"),
        )
    )
    by_condition = {row["condition"]: row for row in document["rows"]}
    assert set(by_condition) == {"baseline", "instructed", "steered", "instructed+steered"}
    [name] = {row["judge"] for row in document["rows"]}
    assert name.startswith("probe on SmolLM2")
    [[found]] = document["judges"].values()
    assert (found["tone"], found["n"]) == ("pirate", 16)
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        json.dumps({"response": "Arr, me hearties, the treasure be buried on yonder isle!"})
        + "\n"
        + json.dumps({"response": "The capital of France is Paris."})
    )
    checked = command("check", "pirate", "--responses", answers, *judge, "--json", "-")
    assert [json.loads(line)["strict"] for line in checked.splitlines()] == [True, False]
