"""Instructions without a check, through the commands: check, evaluate, learn, and agreement."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.evaluate.endpoint import Raw, serving

from trimtab import instructions
from trimtab.engines.base import Engine
from trimtab.instructions.registry import REGISTER
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

Run = Callable[..., Any]
JUDGE = '[{name}]\nphrasings = ["What is it ?", "Say it .", "Who ?"]\njudge = "{question}"\n{more}'


@pytest.fixture(autouse=True)
def nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A file with an instruction `watery`, whose judge is asked without contrast examples."""
    file = tmp_path / "own.toml"
    file.write_text(JUDGE.format(name="watery", question="Is it of a river ?", more=""))
    yield file
    if "watery" in instructions.names():
        REGISTER.remove("watery")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"response": "the river ."}\n{"response": "the city ."}\n{"response": "name"}\n')
    return file


def says_river(prompt: str, body: dict[str, Any]) -> str:
    text = prompt.split("Here is a text:")[1].split("Is it")[0]
    return "Yes" if "river" in text else "I cannot say." if "name" in text else "No"


def test_check_by_an_endpoint(run: Run, own: Path, answers: Path) -> None:
    with serving(says_river) as endpoint:
        options = ("check", "watery", "--file", own, "--responses", answers)
        result = run(*options, "--judged-by", f"wise@{endpoint.url}", "--json", "-")
        shown = run(*options, "--judged-by", f"wise@{endpoint.url}")
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"strict": True, "loose": True, "judge": "wise"},
        {"strict": False, "loose": False, "reason": "the judge says no", "judge": "wise"},
        {
            "strict": False,
            "loose": False,
            "undecided": True,
            "reason": "the judge cannot tell",
            "judge": "wise",
        },
    ]
    assert "watery, judged by wise" in shown.stdout


def test_check_by_the_model_itself_and_by_a_probe(
    run: Run, own: Path, answers: Path, model_folder: Path
) -> None:
    own.write_text(
        own.read_text()
        + 'follows = ["the river .", "river river", "river , river", "river river ?"]\n'
        + 'fails = ["the city .", "city city", "city , city", "city city ?"]\n'
    )
    options = (
        "check",
        "watery",
        "--file",
        own,
        "--responses",
        answers,
        "--model",
        model_folder,
        "--json",
        "-",
    )
    result = run(*options, "--judged-by", "probe", "--device", "cpu")
    assert result.exit_code == 0, result.output
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["strict"] for one in told[:2]] == [True, False]
    assert told[0]["judge"].startswith("probe on ")
    # A random model does not answer questions: it is right about its examples, or refused.
    result = run(*options, "--judged-by", "self", "--device", "cpu")
    assert result.exit_code in (0, 2), result.output
    assert "itself" in (result.stdout if result.exit_code == 0 else result.stderr)


def test_an_instruction_without_a_judge_says_how_to_name_one(run: Run, answers: Path) -> None:
    result = run("check", "formal", "--responses", answers)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: formal has no check but a question for a judge")
    assert "--judged-by" in result.stderr


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("gpt-4o@openai", "OPENAI_API_KEY"),
        ("@http://localhost:1/v1", "names no model"),
        ("./not-there", "not-there"),
    ],
)
def test_a_judge_that_cannot_be_is_one_line(run: Run, answers: Path, judge: str, message: str) -> None:
    result = run("check", "formal", "--responses", answers, "--judged-by", judge)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_evaluate_names_the_judge_beside_every_figure(
    run: Run, own: Path, engine: Engine, model_folder: Path, tmp_path: Path
) -> None:
    params: dict[str, Any] = {"name": "watery", "params": {}}
    edit = Edit.add(1, torch.linspace(-1, 1, engine.identity.width), 40.0)
    Steering("watery", (edit,), Record(engine.identity, (params,))).save(tmp_path / "watery")
    suite = tmp_path / "suite.jsonl"
    rows = [
        {"query": f"what is the {noun} ?", "instructions": ["watery"]} for noun in ("river", "city", "name")
    ]
    rows.append({"query": "who ?", "instructions": ["no_commas"]})
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--file", own, "--model", model_folder, "--device", "cpu", "--suite", suite, "--no-cache")
    with serving(says_river) as endpoint:
        judge = ("--judged-by", f"wise@{endpoint.url}", "--max-new-tokens", 8)
        result = run("evaluate", *options, *judge, "--json", "-")
        shown = run("evaluate", *options, *judge, "-s", tmp_path / "watery", "--facts", 0)
        asked = len(endpoint.prompts)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    by_label = {row["label"]: row for row in document["rows"]}
    assert set(by_label) == {"watery (judged by wise)", "no_commas"}
    assert by_label["watery (judged by wise)"]["judge"] == "wise"
    assert "judge" not in by_label["no_commas"]
    own_answers = [one for one in document["answers"] if one["instructions"][0]["name"] == "watery"]
    assert {one["instructions"][0]["judge"] for one in own_answers} == {"wise"}
    for one in own_answers:
        assert one["instructions"][0]["strict"] == ("river" in one["response"])
    assert asked
    assert shown.exit_code == 0, shown.output
    flat = " ".join(shown.stdout.split())
    assert "(judged by wise)" in flat
    assert "Judged by wise and not checked" in flat
    assert "watery unknown" in flat  # nobody labelled answers of it
    result = run("evaluate", *options, "--max-new-tokens", 8)
    assert result.exit_code == 0, result.output
    assert "3 prompts were left out: an instruction without a check" in " ".join(result.stdout.split())


def test_evaluate_says_how_far_the_judge_agrees_with_a_person(
    run: Run, model_folder: Path, tmp_path: Path
) -> None:
    arr = ("arr", "ahoy", "avast", "aye", "yo ho", "shiver", "blimey", "hoist", "blow me")

    def rule(prompt: str, body: dict[str, Any]) -> str:
        return "Yes" if any(word in prompt.lower().split("is the text")[0] for word in arr) else "No"

    with serving(rule) as endpoint:
        result = run(
            *(
                "evaluate",
                "--suite",
                "base",
                "--limit",
                1,
                "-i",
                "pirate",
                "--model",
                model_folder,
                "--device",
                "cpu",
            ),
            *("--judged-by", f"wise@{endpoint.url}", "--max-new-tokens", 4, "--no-cache", "--json", "-"),
        )
        compared = run("agreement", f"wise@{endpoint.url}", "-i", "pirate", "--json", "-")
        table = run("agreement", f"wise@{endpoint.url}", "-i", "pirate")
    assert result.exit_code == 0, result.output
    ((found,),) = json.loads(result.stdout)["judges"].values()
    assert (found["tone"], found["n"]) == ("pirate", 16)
    assert found["agreed"] >= 14
    assert compared.exit_code == 0, compared.output
    document = json.loads(compared.stdout)
    assert (document["judge"], document["n"], document["tones"]) == ("wise", 16, [found])
    assert "wise and a person" in table.stdout


def test_agreement_of_a_judge_that_says_yes_to_everything(run: Run) -> None:
    with serving(lambda prompt, body: "Yes") as endpoint:
        result = run("agreement", f"kind@{endpoint.url}", "-i", "formal,poetic", "--json", "-")
        shown = run("agreement", f"kind@{endpoint.url}", "-i", "formal,poetic")
    assert result.exit_code == 0, result.output
    assert [one["believable"] for one in json.loads(result.stdout)["tones"]] == [False, False]
    assert "the judge is refused for this tone" in shown.stdout


def test_learn_keeps_the_told_answers_that_the_judge_passes(run: Run, tmp_path: Path) -> None:
    """On nano, told to be poetic, which it is not: the judge passes the answers with an even number of letters."""
    asked: list[str] = []

    def rule(prompt: str, body: dict[str, Any]) -> str:
        text = prompt.split("Here is a text:")[1].split("Is the text poetic")[0].strip()
        if "Is the text poetic" not in prompt:
            return "Yes"
        asked.append(text)
        examples = instructions.get("poetic").question
        assert examples is not None
        passes = text in examples.follows or (text not in examples.fails and len(text) % 2 == 0)
        return "Yes" if passes else "No"

    out = tmp_path / "poetic"
    options = ("--pairs", 12, "--validation", 4, "--blocks", 1, "--rank", 1, "--steps", 2, "--out", out)
    with serving(rule) as endpoint:
        judge = ("--judged-by", f"wise@{endpoint.url}")
        result = run("learn", "poetic", *options, *judge, "--teacher", "told", "--json", "-")
        shown = run("inspect", out)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["instructions"] == [{"name": "poetic", "params": {}}]
    assert document["settings"]["judges"] == {"poetic": "wise"}
    assert document["measurements"]["validation"]["judges"] == {"poetic": "wise"}
    assert 8 <= document["lessons"]["passed"] <= document["lessons"]["asked"]
    assert document["lessons"]["answers"] > document["lessons"]["asked"]  # those that failed were asked again
    assert len(asked) > 20
    assert shown.exit_code == 0
    assert "wise" in shown.stdout
    result = run("learn", "poetic", *options)
    assert result.exit_code == 2
    assert "name who judges (--judged-by)" in result.stderr


def test_a_search_for_a_vector_is_judged_too(run: Run, tmp_path: Path) -> None:
    with serving(lambda prompt, body: "Yes" if len(prompt) % 2 else "No") as endpoint:
        own = tmp_path / "own.toml"
        own.write_text(JUDGE.format(name="watery", question="Is it wet ?", more=""))
        try:
            result = run(
                *(
                    "learn",
                    "watery",
                    "--file",
                    own,
                    "--method",
                    "mean_difference",
                    "--block",
                    1,
                    "--apply",
                    "add",
                ),
                *("--pairs", 4, "--validation", 3, "--max-new-tokens", 16, "--out", tmp_path / "watery"),
                *("--judged-by", f"wise@{endpoint.url}", "--json", "-"),
            )
        finally:
            REGISTER.remove("watery")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["measurements"]["validation"]["judges"] == {"watery": "wise"}


def pirates(prompt: str, body: dict[str, Any]) -> str:
    """Right about the examples of `pirate`, and of all else says yes where there is a comma."""
    question = instructions.get("pirate").question
    assert question is not None
    text = prompt.split("Here is a text:")[1].split(question.text)[0].strip()
    if text in (*question.follows, *question.fails):
        return "Yes" if text in question.follows else "No"
    return "Yes" if "," in text else "No"


def test_a_tone_is_learned_from_its_contrast_examples_and_its_strength_tuned(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "pirate"
    settled = ("--block", 2, "--strength", 1, "--apply", "add")
    result = run("learn", "pirate", "--method", "contrast", *settled, "--out", out, "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["method"], document["settings"]["follows"]) == ("contrast", 8)
    assert document["instructions"] == [{"name": "pirate", "params": {}}]
    options = (
        "tune",
        out,
        "--strength-only",
        "--strengths",
        "0.5,1",
        "--validation",
        2,
        "--max-new-tokens",
        8,
    )
    unjudged = run(*options)
    assert unjudged.exit_code == 2
    assert "--judged-by" in unjudged.stderr
    with serving(pirates) as endpoint:
        judge = ("--judged-by", f"wise@{endpoint.url}")
        tuned = run(*options, *judge, "--json", "-")
        shown = run(*options, *judge)
    assert tuned.exit_code == 0, tuned.output
    assert json.loads(tuned.stdout)["judges"] == {"pirate": "wise"}
    assert "judged by wise, not checked" in shown.stdout


def test_all_answers_are_accepted_without_a_judge_and_the_record_says_so(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "pirate"
    options = ("--pairs", 8, "--validation", 2, "--blocks", 1, "--rank", 1, "--steps", 2, "--out", out)
    result = run("learn", "pirate", *options, "--accept", "all")
    assert result.exit_code == 0, result.output
    flat = " ".join(result.stdout.split())
    assert "all told answers that came to an end were accepted" in flat
    assert "nobody judges" in flat
    assert "nothing says whether it is followed" in " ".join(result.stderr.split())
    assert json.loads((out / "steering.json").read_text())["settings"]["accept"] == "all"
    assert "all told answers, whether they follow or not" in (out / "README.md").read_text()
    refused = run("learn", "pirate", "--method", "contrast", "--accept", "all", "--out", out)
    assert refused.exit_code == 2
    assert "--accept" in refused.stderr


def test_follow_tries_again_until_the_judge_says_yes_and_names_it(run: Run) -> None:
    options = ("follow", "What is the Oldbridge?", "-i", "pirate", "--budget", 2, "--max-new-tokens", 24)
    unjudged = run(*options)
    assert unjudged.exit_code == 2
    assert "name who judges (--judged-by)" in unjudged.stderr
    with serving(pirates) as endpoint:
        judge = ("--judged-by", f"wise@{endpoint.url}")
        result = run(*options, *judge, "--json", "-")
        shown = run(*options, *judge)
    assert result.exit_code in (0, 1), result.output
    document = json.loads(result.stdout)
    assert document["judges"] == {"pirate": "wise"}
    assert document["verified"] == ("," in document["responses"][0]["response"])
    assert "pirate: judged by wise, not checked" in shown.stdout


def test_compose_measures_a_tone_beside_a_check_by_the_judge(run: Run, tmp_path: Path) -> None:
    settled = ("--method", "mean_difference", "--block", 1, "--strength", 1, "--apply", "add")
    for name in ("pirate", "lowercase"):
        made = run("learn", name, *settled, "--pairs", 4, "--out", tmp_path / name)
        assert made.exit_code == 0, made.output
    both = (tmp_path / "pirate", tmp_path / "lowercase")
    options = ("compose", *both, "--out", tmp_path / "both", "--validation", 3, "--pairs", 8)
    unjudged = run(*options)
    assert unjudged.exit_code == 2
    assert "name who judges (--judged-by)" in unjudged.stderr
    with serving(pirates) as endpoint:
        result = run(
            *options,
            "--steps",
            1,
            "--max-new-tokens",
            16,
            "--judged-by",
            f"wise@{endpoint.url}",
            "--json",
            "-",
        )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["measurements"]["validation"]["judges"] == {"pirate": "wise"}


@pytest.mark.parametrize("refit", ["none", "strength"])
def test_a_moved_tone_is_fitted_and_measured_by_the_judge(
    run: Run, own: Path, engine: Engine, model_folder: Path, tmp_path: Path, refit: str
) -> None:
    direction = torch.linspace(-1, 1, engine.identity.width)
    record = Record(engine.identity, ({"name": "watery", "params": {}},))
    Steering("watery", (Edit.add(1, direction, 40.0),), record).save(tmp_path / "watery")
    sizes = (
        "--pairs",
        2,
        "--validation",
        2,
        "--test",
        2,
        "--max-new-tokens",
        4,
        "--no-here",
        "--device",
        "cpu",
    )
    moved = tmp_path / "moved"
    options = (
        "transfer",
        tmp_path / "watery",
        "--model",
        model_folder,
        "--file",
        own,
        "--refit",
        refit,
        *sizes,
    )
    unjudged = run(*options)
    assert unjudged.exit_code == 2
    assert "watery has no check" in unjudged.stderr
    assert "name who judges (--judged-by)" in unjudged.stderr
    with serving(says_river) as endpoint:
        judge = ("--judged-by", f"wise@{endpoint.url}")
        result = run(*options, *judge, "--out", moved, "--json", "-")
        shown = run(*options, *judge)
        asked = len(endpoint.prompts)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["judges"] == {"watery": "wise"}
    assert {row["judge"] for row in document["transfers"][0]["rows"]} == {"wise"}
    assert asked
    measured = json.loads((moved / "steering.json").read_text())["measurements"]["test"]
    assert measured["steered"]["judge"] == "wise"
    assert shown.exit_code == 0, shown.output
    assert "watery: judged by wise, not checked" in shown.stdout


def test_the_demonstration_shows_a_tone_by_the_judges_name(run: Run, tmp_path: Path) -> None:
    sizes = ("--pairs", 10, "--steps", 1, "--validation", 2, "--test", 2, "--max-new-tokens", 48)
    with serving(pirates) as endpoint:
        result = run(
            *("demo", "-i", "pirate", *sizes, "--no-mean-difference", "--out", tmp_path / "demo"),
            *("--judged-by", f"wise@{endpoint.url}", "--json", "-"),
        )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert {row["instruction"] for row in rows} == {"pirate"}
    assert {row["judge"] for row in rows} == {"wise"}
    assert "pirate (judged by wise)" in (tmp_path / "demo" / "report.html").read_text()


def test_the_card_of_a_tone_says_what_a_judge_is_asked(run: Run) -> None:
    shown = run("instructions", "pirate").stdout
    question = instructions.get("pirate").question
    assert question is not None
    assert question.text in " ".join(shown.replace("│", "").split())
    assert "contrast examples: 8 that follow and 8 that fail" in shown
    assert "--judged-by JUDGE" in shown
    document = json.loads(run("instructions", "pirate", "--json", "-").stdout)
    assert document["judge"] == {
        "text": question.text,
        "follows": list(question.follows),
        "fails": list(question.fails),
    }
    assert json.loads(run("instructions", "json", "--json", "-").stdout)["judge"] is None


OWN_TONE = """
[calm]
phrasings = ["Be calm.", "Calmly, please.", "In a calm voice.", "Stay calm."]
judge = "Is the text in ordinary letters?"
follows = ["The Oldbridge is old.", "It is a river.", "There are many boats.", "The town has a market."]
fails = ["THE OLDBRIDGE IS OLD.", "IT IS A RIVER.", "THERE ARE MANY BOATS.", "THE TOWN HAS A MARKET."]
"""


def test_a_tone_of_a_file_is_learned_and_evaluated_by_a_probe(run: Run, tmp_path: Path) -> None:
    """On nano, whose answers are all in ordinary letters: told answers pass, and the probe says so everywhere."""
    own, out = tmp_path / "own.toml", tmp_path / "calm"
    own.write_text(OWN_TONE)
    judge = ("--file", own, "--judged-by", "probe")
    sizes = (
        "--pairs",
        10,
        "--validation",
        2,
        "--blocks",
        1,
        "--rank",
        1,
        "--steps",
        1,
        "--max-new-tokens",
        48,
    )
    try:
        result = run("learn", "calm", *judge, *sizes, "--out", out, "--json", "-")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["settings"]["judges"] == {"calm": "probe on nano-instruct"}
        suite = ("evaluate", "--suite", "nano", "--limit", 1, "-s", out, "--max-new-tokens", 48, "--no-cache")
        result = run(*suite, *judge, "--json", "-")
    finally:
        REGISTER.remove("calm")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {row["judge"] for row in document["rows"]} == {"probe on nano-instruct"}
    assert [row["followed"] for row in document["rows"] if row["condition"] == "baseline"] == [1.0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('follows = ["a", "b", "c", "d"]', "has contrast examples of one side only"),
        (
            'follows = ["a"]\nfails = ["b", "c", "d", "e"]',
            "has 1 that follow and 4 that fail; give at least 4 of each",
        ),
        ("", "has 0 that follow and 0 that fail"),
    ],
)
def test_a_classifier_of_too_few_examples_is_one_line(
    run: Run, tmp_path: Path, answers: Path, more: str, message: str
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(JUDGE.format(name="watery", question="Is it wet ?", more=more))
    try:
        result = run("check", "watery", "--file", own, "--responses", answers, "--judged-by", "probe")
    finally:
        if "watery" in instructions.names():
            REGISTER.remove("watery")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            Raw("<h1>Sign in</h1>", headers={"Content-Type": "text/html"}),
            "does not answer as chat completions do",
        ),
        (Raw("{"), "its answer is not JSON"),
        (
            "Oui, bien sûr.",
            "with neither Yes nor No for 16 of 16 contrast examples (it said 'Oui, bien sûr.')",
        ),
        (404, "404 - not today"),
    ],
)
def test_an_endpoint_that_judges_nothing_is_one_line(
    run: Run, answers: Path, reply: Any, message: str
) -> None:
    with serving(lambda prompt, body: reply) as endpoint:
        options = (
            "check",
            "formal",
            "--responses",
            answers,
            "--judged-by",
            f"wise@{endpoint.url}",
            "--quiet",
        )
        result = run(*options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
