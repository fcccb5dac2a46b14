from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.cli.models import EngineChoice
from trimtab.engines.base import Engine
from trimtab.errors import ModelError
from trimtab.steering.steering import Steering

PROMPT = "what is the name of the river ?"


@pytest.fixture
def expected(engine: Engine, steering_folder: Path) -> tuple[str, str]:
    """What the engine itself answers, plain and steered: two different texts."""
    steering = Steering.load(steering_folder)
    plain, steered = engine.generate([PROMPT, PROMPT], steering=[None, steering], max_new_tokens=12)
    assert plain.text != steered.text
    return plain.text, steered.text


def test_one_prompt_streams_the_engines_answer(
    run: Callable[..., Any], model_folder: Path, expected: tuple[str, str]
) -> None:
    result = run("generate", PROMPT, "--model", model_folder, "--max-new-tokens", 12, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout == expected[0] + "\n"


def test_a_steering_is_applied(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, expected: tuple[str, str]
) -> None:
    options = ("-m", model_folder, "--steering", steering_folder, "--max-new-tokens", 12)
    assert run("generate", PROMPT, *options).stdout == expected[1] + "\n"
    assert run("generate", PROMPT, *options, "--quiet").stdout == expected[1] + "\n"


def test_the_model_is_that_of_the_steering_where_its_record_tells(
    run: Callable[..., Any], steering_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("generate", PROMPT, "--steering", steering_folder)
    assert result.exit_code == 2
    assert "came from a folder or file; say where it is: --model FOLDER" in result.stderr
    steering = Steering.load(steering_folder)
    on_the_hub = dataclasses.replace(steering.record.model, id="someone/model", revision="abc")
    record = dataclasses.replace(steering.record, model=on_the_hub)
    dataclasses.replace(steering, record=record).save(steering_folder)
    asked: dict[str, Any] = {}

    def load(loading: EngineChoice, output: object, model: str, **options: Any) -> None:
        asked.update(revision=loading.revision, model=model)
        raise ModelError("enough")

    monkeypatch.setattr(EngineChoice, "open", load)
    run("generate", PROMPT, "--steering", steering_folder)
    assert (asked["model"], asked["revision"]) == ("someone/model", "abc")
    run("generate", PROMPT)
    assert (asked["model"], asked["revision"]) == ("nano", None)
    # The built-in model's revision is the digest of its weights, and nothing to ask for.
    built_in = dataclasses.replace(on_the_hub, id="nano-base")
    dataclasses.replace(steering, record=dataclasses.replace(record, model=built_in)).save(steering_folder)
    run("generate", PROMPT, "--steering", steering_folder)
    assert (asked["model"], asked["revision"]) == ("nano-base", None)


def test_the_prompt_may_come_from_standard_input(
    run: Callable[..., Any], model_folder: Path, expected: tuple[str, str]
) -> None:
    result = run("generate", "-", "--model", model_folder, "--max-new-tokens", 12, input=PROMPT + "\n")
    assert result.stdout == expected[0] + "\n"


def test_compare_shows_both_side_by_side_and_what_was_followed(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, expected: tuple[str, str]
) -> None:
    result = run(
        "generate", PROMPT, "-m", model_folder, "-s", steering_folder, "--compare", "--max-new-tokens", 12
    )
    text = " ".join(result.stdout.split())
    assert text.index("baseline") < text.index("steered")
    assert expected[0].split()[0] in text
    assert "uppercase: not followed" in text


def test_compare_as_json(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, expected: tuple[str, str]
) -> None:
    options = ("-m", model_folder, "-s", steering_folder, "--compare", "--max-new-tokens", 12, "--json", "-")
    document = json.loads(run("generate", PROMPT, *options).stdout)
    assert [row["condition"] for row in document["responses"]] == ["baseline", "steered"]
    assert tuple(row["response"] for row in document["responses"]) == expected
    assert all(row["followed"] == {"uppercase": False} for row in document["responses"])
    assert document["steering"] == "shout"


def test_strength_zero_is_the_baseline(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, expected: tuple[str, str]
) -> None:
    options = (
        "-m",
        model_folder,
        "-s",
        steering_folder,
        "--strength",
        "0",
        "--max-new-tokens",
        12,
        "--quiet",
    )
    assert run("generate", PROMPT, *options).stdout == expected[0] + "\n"


def test_several_steerings_add_up(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, engine: Engine
) -> None:
    both = f"{steering_folder},{steering_folder}"
    once = Steering.load(steering_folder)
    sum_ = engine.generate([PROMPT], steering=once + once * -0.5, max_new_tokens=12)[0].text
    options = ("-m", model_folder, "-s", both, "--strength", "1,-0.5", "--max-new-tokens", 12, "--quiet")
    assert run("generate", PROMPT, *options).stdout == sum_ + "\n"


def test_a_file_of_prompts_gives_an_answer_each(
    run: Callable[..., Any], model_folder: Path, tmp_path: Path, engine: Engine
) -> None:
    prompts = [PROMPT, "tell me about the city ."]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n")
    options = ("--prompts", tmp_path / "prompts.txt", "--model", model_folder, "--max-new-tokens", 6)
    document = json.loads(run("generate", *options, "--json", "-").stdout)
    assert [row["prompt"] for row in document["responses"]] == prompts
    answers = [row["response"] for row in document["responses"]]
    assert answers == [one.text for one in engine.generate(prompts, max_new_tokens=6)]
    shown = run("generate", *options).stdout
    assert shown.index(f"> {prompts[0]}") < shown.index(f"> {prompts[1]}")


def test_a_raw_prompt_goes_in_without_the_template(
    run: Callable[..., Any], model_folder: Path, engine: Engine
) -> None:
    options = ("--model", model_folder, "--max-new-tokens", 6)
    [expected] = engine.generate([PROMPT], max_new_tokens=6, raw=True)
    assert run("generate", PROMPT, "--raw", *options).stdout == expected.text + "\n"
    assert expected != engine.generate([PROMPT], max_new_tokens=6)[0]


def test_a_seed_repeats_a_sample(run: Callable[..., Any], model_folder: Path) -> None:
    options = ("--model", model_folder, "--temperature", 5, "--seed", 3, "--max-new-tokens", 8)
    first, second = (run("generate", PROMPT, *options).stdout for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give one prompt"),
        ((PROMPT, "--prompts", "x.txt"), "give one prompt"),
        ((PROMPT, "--compare"), "nothing to compare"),
        ((PROMPT, "--strength", "much"), "takes numbers"),
        ((PROMPT, "--strength", "1,2"), "2 strengths for 0 steerings"),
        ((PROMPT, "--top-p", "2"), "--top-p"),
        (("--prompts", "missing.txt"), "there is no file missing.txt"),
        ((PROMPT, "--steering", "nowhere"), "there is no folder nowhere"),
        (("-",), "the prompt is empty"),
        ((PROMPT, "--model", "./nowhere"), "error: "),
    ],
)
def test_mistakes_exit_with_2_and_say_what_to_do(
    run: Callable[..., Any], arguments: tuple[str, ...], words: str
) -> None:
    result = run("generate", *arguments, input="")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_a_steering_for_another_model_is_refused(
    run: Callable[..., Any], model_folder: Path, steering_folder: Path, engine: Engine, tmp_path: Path
) -> None:
    steering = Steering.load(steering_folder)
    other = dataclasses.replace(engine.identity, id="someone/else", weights=None)
    record = dataclasses.replace(steering.record, model=other)
    dataclasses.replace(steering, record=record).save(tmp_path / "other")
    result = run("generate", PROMPT, "--model", model_folder, "--steering", tmp_path / "other")
    assert result.exit_code == 2
    assert "someone/else" in result.stderr
