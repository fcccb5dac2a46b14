from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from rich.console import Console

from trimtab import instructions, learn, plugins, prompts
from trimtab.cli.learning import trials_table
from trimtab.engines.base import Engine
from trimtab.instructions.registry import REGISTER
from trimtab.learn import Directions, Distilled, Schedule, methods
from trimtab.learn.distillation.distilled import Trial
from trimtab.learn.distillation.lessons import Lesson, Lessons
from trimtab.learn.distillation.schedule import Step
from trimtab.learn.distillation.sizes import Size
from trimtab.learn.methods import Method
from trimtab.measure.bounds import compare
from trimtab.measure.quality import Quality
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

QUERIES = [
    f"{start} the {noun} {end}"
    for start, noun, end in itertools.product(
        ["what is", "tell me about", "who is in", "where is"],
        ["river", "city", "name"],
        ["?", ".", "and say it ."],
    )
]


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    file = tmp_path / "queries.txt"
    file.write_text("\n".join(QUERIES) + "\n")
    return file


@pytest.fixture
def settled(model_folder: Path, queries: Path) -> tuple[object, ...]:
    """Options that leave nothing to choose."""
    options = ("--model", model_folder, "--queries", queries, "--device", "cpu", "--pairs", 36)
    return (*options, "--method", "mean_difference", "--block", 1, "--strength", 1.5, "--apply", "add")


def test_a_settled_choice_is_learned_and_saved_without_a_search(
    run: Callable[..., Any], settled: tuple[object, ...], engine: Engine, tmp_path: Path
) -> None:
    result = run("learn", "lowercase", *settled, "--out", tmp_path / "out", "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["candidates"] == []

    instruction = instructions.get("lowercase")
    pairs = prompts.make_pairs(prompts.sample_queries(QUERIES, 36, 0), instruction, "learning")
    expected = learn.mean_difference(engine, pairs, instruction).add(1, 1.5)
    saved = Steering.load(tmp_path / "out", engine.identity)
    (edit,) = saved.edits
    assert edit.block == 1
    torch.testing.assert_close(edit.u * edit.alpha, expected.edits[0].u * expected.edits[0].alpha)
    assert saved.record.instructions == ({"name": "lowercase", "params": {}},)
    assert saved.record.prompts == prompts.digest(pairs)
    assert document["digest"] == saved.digest()


def test_the_directions_of_all_blocks_are_kept_beside_it(
    run: Callable[..., Any], settled: tuple[object, ...], engine: Engine, tmp_path: Path
) -> None:
    run("learn", "lowercase", *settled, "--out", tmp_path / "out", "--method", "pca")
    directions = Directions.load(tmp_path / "out", engine.identity)
    assert directions.blocks == (0, 1, 2)
    assert directions.method == "pca"
    plot = run("inspect", tmp_path / "out").stdout
    assert "mean difference per block" in plot


def test_an_exclusion_goes_against_its_inclusion(
    run: Callable[..., Any], settled: tuple[object, ...], tmp_path: Path
) -> None:
    vectors = []
    for name in ("include", "exclude"):
        result = run("learn", name, "--params", '{"word": "river"}', *settled, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        steering = Steering.load(tmp_path / name)
        assert steering.record.instructions[0]["name"] == name
        vectors.append(steering.edits[0].u * steering.edits[0].alpha)
    torch.testing.assert_close(vectors[1], -vectors[0])


def test_auto_searches_and_shows_the_candidates(
    run: Callable[..., Any], model_folder: Path, queries: Path, tmp_path: Path
) -> None:
    options = ("--model", model_folder, "--queries", queries, "--device", "cpu", "--out", tmp_path / "out")
    few = (
        "--method",
        "mean_difference",
        "--strength",
        2,
        "--apply",
        "set_projection",
        "--validation",
        3,
        "--max-new-tokens",
        6,
    )
    result = run("learn", "lowercase", *options, *few, "--json", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "result.json").read_text())
    assert {one["strength"] for one in document["candidates"]} == {2.0}
    assert {one["application"] for one in document["candidates"]} == {"set_projection"}
    assert len({one["block"] for one in document["candidates"]}) == len(document["candidates"]) > 1
    best = document["candidates"][0]
    saved = Steering.load(tmp_path / "out")
    assert [edit.block for edit in saved.edits] == [best["block"]]
    assert saved.record.measurements["validation"]["followed"] == best["followed"]
    assert f"best of {len(document['candidates'])} candidates" in result.stdout
    assert "trimtab generate" in result.stdout


def test_the_same_command_learns_the_same_thing(
    run: Callable[..., Any], settled: tuple[object, ...], tmp_path: Path
) -> None:
    digests = []
    for name in ("first", "second"):
        run("learn", "json", *settled, "--out", tmp_path / name)
        digests.append(Steering.load(tmp_path / name).digest())
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shouting",), "shouting"),
        (("sentences", "--params", "{at_most: 2}"), "--params is not JSON"),
        (("sentences", "--params", "[2]"), "must be a JSON object"),
        (("sentences", "--params", '{"at_most": -2}'), "at_most"),
        (("json", "--block", "middle"), "takes auto or the numbers of blocks"),
        (("json", "--strength", "nan"), "takes auto or a number"),
        (("json", "--apply", "multiply"), "multiply"),
        (("json", "--model", "./nowhere"), "nowhere"),
        (("json", "--block", "9"), "no block 9"),
        (("json", "--queries", "missing.txt"), "missing.txt"),
    ],
)
def test_mistakes_exit_with_2_and_leave_nothing_behind(
    run: Callable[..., Any],
    settled: tuple[object, ...],
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    name, *rest = arguments
    result = run("learn", name, *settled, *rest, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_refused_before_the_work(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "letters.txt").write_text("dear Ida")
    result = run("learn", "json", "--model", "./nowhere", "--out", tmp_path)
    assert result.exit_code == 2
    assert "holds something else" in " ".join(result.stderr.replace("│", " ").split())
    result = run("learn", "json", "--model", "./nowhere", "--out", tmp_path / "letters.txt")
    assert "is a file" in " ".join(result.stderr.replace("│", " ").split())


def test_too_few_queries_to_split_say_the_way_out(
    run: Callable[..., Any], model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.txt").write_text("what is the river ?\n")
    options = ("--model", model_folder, "--queries", tmp_path / "one.txt", "--out", tmp_path / "out")
    result = run("learn", "json", *options, "--method", "pca")
    assert result.exit_code == 2
    assert "name --block, --strength and --apply yourself" in result.stderr
    result = run("learn", "json", *options)
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith("give more")


@pytest.fixture
def distilled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Distillations asked for, of which none is done: each gives the same edit after two steps."""
    asked: list[dict[str, Any]] = []

    def distill(engine: Any, queries: Any, wanted: Any, **settings: Any) -> Distilled:
        asked.append({"queries": queries, "wanted": [one.label for one in wanted], **settings})
        steps = (Step(1, 2, 1.5), Step(2, 2, 0.5, 0.75))
        for step in steps:
            settings["progress"]("learning edits", step.step, step.steps, f"loss {step.loss:.3f}")
        settings["checkpoint"].mkdir(parents=True)
        (settings["checkpoint"] / "lessons.json").write_text("{}")
        measured = {"n": len(settings["validation"]), "followed": 0.5, "instructed_followed": 1.0}
        steering = Steering(
            "learned",
            (Edit.add(1, torch.ones(engine.identity.width)),),
            Record(engine.identity, measurements={"validation": measured}, method="distilled"),
        )
        trial = Trial(Size((0, 1)), steps, 0.75, 0.5)
        lesson = Lesson("plain", (1,), (1, 2), (3,))
        return Distilled(steering, (trial,), Lessons((lesson,), 2, 1, 3, 0.5), 1.0)

    monkeypatch.setattr(learn, "distill", distill)
    return asked


def test_the_table_of_trials_can_be_read_in_a_terminal_of_eighty_columns() -> None:
    far = SimpleNamespace(
        departures=[SimpleNamespace(measure="perplexity"), SimpleNamespace(measure="length in tokens")]
    )
    trial = SimpleNamespace(
        size=Size(tuple(range(1, 29, 2))),
        history=(Step(1, 1, 0.5),),
        held_out=0.5,
        followed=1.0,
        comparison=far,
    )
    record = SimpleNamespace(measurements={"validation": {"n": 24}}, settings={})
    found = SimpleNamespace(steering=SimpleNamespace(record=record), instructed_followed=0.5, trials=(trial,))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(trials_table(cast("Any", found)))
    shown = console.export_text()
    assert "…" not in shown
    assert "perplexity," in shown
    assert "27" in shown


@pytest.fixture
def model(model_folder: Path, queries: Path) -> tuple[object, ...]:
    return ("--model", model_folder, "--queries", queries, "--device", "cpu")


def test_edits_are_distilled_unless_told_otherwise(
    run: Callable[..., Any], distilled: list[dict[str, Any]], model: tuple[object, ...], tmp_path: Path
) -> None:
    result = run("learn", "lowercase", *model, "--out", tmp_path / "out", "--json", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    [asked] = distilled
    assert asked["wanted"] == ["lowercase"]
    assert asked["schedule"] == Schedule()
    assert asked["checkpoint"] == tmp_path / "out" / ".trimtab-training"
    assert not {"blocks", "rank", "form", "phrasings"} & set(asked)  # the defaults are the function's
    assert set(asked["queries"]) | set(asked["validation"]) <= set(QUERIES)
    assert set(asked["queries"]) <= set(asked["pool"]) <= set(QUERIES) - set(asked["validation"])

    assert Steering.load(tmp_path / "out").name == "learned"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "steering.json",
        "steering.safetensors",
    ]
    assert "instructed, the model follows 1.00" in result.stdout
    assert "0, 1" in result.stdout
    assert "follows 0.50 of the validation queries, the instructed model 1.00" in result.stderr
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["method"] == "distilled"
    assert document["instructed_followed"] == 1.0
    assert document["lessons"] == {
        "asked": 2,
        "passed": 1,
        "answers": 3,
        "first_time": 0.5,
        "plain": 1,
        "instructed": 0,
        "other": 0,
    }
    [trial] = document["trials"]
    assert trial["blocks"] == [0, 1]
    assert trial["history"] == [
        {"step": 1, "loss": 1.5, "held_out": None},
        {"step": 2, "loss": 0.5, "held_out": 0.75},
    ]


def test_every_option_of_a_distillation_reaches_it(
    run: Callable[..., Any], distilled: list[dict[str, Any]], model: tuple[object, ...], tmp_path: Path
) -> None:
    options = "--blocks 0,2 --rank 2 --form loreft --steps 7 --rate 0.1 --gate-rate 0.01 --tokens generated "
    options += "--facts 7 --phrasings 3 --gradient-checkpointing --batch-size 5 --seed 4 --max-new-tokens 9"
    result = run("learn", "json,sentences(at_most=2)", *model, *options.split(), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    [asked] = distilled
    assert asked["wanted"] == ["json", "sentences(at_most=2)"]
    assert asked["schedule"] == Schedule(steps=7, rate=0.1, gate_rate=0.01, batch_size=5)
    expected = {"blocks": [0, 2], "rank": 2, "form": "loreft", "tokens": "generated", "phrasings": 3}
    expected |= {"questions": 7, "gradient_checkpointing": True, "seed": 4, "max_new_tokens": 9}
    assert {key: asked[key] for key in expected} == expected


def test_a_killed_run_may_be_started_again_in_its_folder(
    run: Callable[..., Any],
    distilled: list[dict[str, Any]],
    model: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = learn.distill

    def killed(*arguments: Any, **settings: Any) -> Distilled:
        going(*arguments, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learn, "distill", killed)
        result = run("learn", "json", *model, "--out", tmp_path / "out")
        assert result.exit_code == 130
        assert "the same command goes on from here" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".trimtab-training"]
    distilled.clear()
    (tmp_path / "out" / ".trimtab-training" / "lessons.json").unlink()
    (tmp_path / "out" / ".trimtab-training").rmdir()
    (tmp_path / "out" / ".trimtab-old").mkdir()
    result = run("learn", "json", *model, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out" / ".trimtab-training").exists()


def test_of_several_processes_only_the_first_speaks_and_writes(
    run: Callable[..., Any],
    distilled: list[dict[str, Any]],
    model: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "1")
    result = run("learn", "json", *model, "--out", tmp_path / "out", "--json", "-")
    assert (result.exit_code, result.stdout) == (0, "")
    assert len(distilled) == 1
    assert not (tmp_path / "out" / "steering.json").exists()
    result = run("learn", "json", "--model", "./nowhere", "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("process 1: error: there is no folder ./nowhere")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            "json --strength 2 --apply add",
            "--strength, --apply: only for --method mean_difference or contrast or pca",
        ),
        ("json --method pca --rank 2", "--rank: only for --method distill, and this is pca"),
        ("json --method mean_difference --steps 3 --rate 1", "--steps, --rate: only for --method distill"),
        ("json --method pca --gradient-checkpointing", "--gradient-checkpointing: only for --method distill"),
        ("json,lowercase --method pca", "pca learns one instruction at a time"),
        ("lowercase,uppercase", "lowercase and uppercase cannot be followed at once"),
        ("json --rank some", "--rank takes auto or a number, not 'some'"),
        ("json --rate -1", "rate of a distillation must be a positive number"),
        ("json --form cubic", "cubic"),
        ("json --form vector --rank 2", "one edit per block, not 2"),
        ("json --blocks 0,9", "no block 9"),
    ],
)
def test_options_that_say_nothing_to_the_method_are_refused(
    run: Callable[..., Any], model: tuple[object, ...], tmp_path: Path, options: str, words: str
) -> None:
    result = run("learn", *options.split(), *model, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def largest(model: Any, pairs: Any, instruction: Any, *, blocks: Any = None, **options: Any) -> Directions:
    """A method of another package: the mean difference of the first few pairs."""
    return replace(learn.mean_difference(model, pairs[:3], instruction, blocks=blocks), method="first")


def by_hand(model: Any, queries: Any, instructions: Any, *, seed: int = 0, rank: int = 1) -> Steering:
    """A method of another package that gives a finished steering."""
    edits = [Edit.add(1, torch.ones(model.identity.width)) for _ in range(rank)]
    record = Record(model.identity, tuple(one.to_dict() for one in instructions), "by_hand")
    return Steering(f"{len(queries)} queries", tuple(edits), record)


FIRST = Method("first", "Of the first few pairs.", "directions", largest)
BY_HAND = Method("by_hand", "Ones, and nothing else.", "steering", by_hand)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint(name, f"tests.cli.test_learn:{name}", methods.ENTRY_POINT_GROUP)
        for name in ("FIRST", "BY_HAND")
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [one for one in points if one.group == group])


@pytest.mark.usefixtures("added")
def test_a_method_of_another_package_learns_directions(
    run: Callable[..., Any], settled: tuple[object, ...], tmp_path: Path
) -> None:
    result = run("learn", "lowercase", *settled, "--method", "first", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    saved = Steering.load(tmp_path / "out")
    assert saved.record.method == "first"
    assert [edit.block for edit in saved.edits] == [1]
    assert Directions.load(tmp_path / "out").pairs == 3


@pytest.mark.usefixtures("added")
def test_a_method_of_another_package_learns_a_steering_with_the_options_it_takes(
    run: Callable[..., Any], model: tuple[object, ...], tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "out")
    result = run("learn", "json,lowercase", *model, *out, "--method", "by_hand", "--rank", 2, "--pairs", 5)
    assert result.exit_code == 0, result.output
    saved = Steering.load(tmp_path / "out")
    assert (saved.name, len(saved.edits), len(saved.record.instructions)) == ("5 queries", 2, 2)
    result = run("learn", "json", *model, *out, "--method", "by_hand", "--steps", 2, "--strength", 1)
    assert result.exit_code == 2
    others = "distill or mean_difference or contrast or pca or first"
    words = f"--steps, --strength: only for --method {others}, and this is by_hand"
    assert words in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.usefixtures("added")
def test_the_methods_are_listed_and_named_in_the_help(run: Callable[..., Any]) -> None:
    result = run("learn", "--method", "list")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "distill",
        "mean_difference",
        "contrast",
        "pca",
        "first",
        "by_hand",
    ]
    assert "Ones, and nothing else." in result.stdout
    text = " ".join(run("learn", "--help").stdout.replace("│", " ").split())
    assert all(method.name in text for method in methods._OWN)


def test_a_method_that_is_not_there_is_refused(
    run: Callable[..., Any], model: tuple[object, ...], tmp_path: Path
) -> None:
    result = run("learn", "json", *model, "--method", "destill", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no method 'destill'; did you mean distill?" in result.stderr


def test_what_cannot_be_checked_is_referred_to_what_needs_no_check(
    run: Callable[..., Any], model: tuple[object, ...], tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text('[mood]\nphrasings = ["Be cheerful."]\n')
    try:
        result = run("learn", "mood", "--file", tmp_path / "own.toml", *model, "--out", tmp_path / "out")
    finally:
        REGISTER.remove("mood")
    assert result.exit_code == 2, result.output
    assert "mood has no check" in result.stderr
    assert "--method mean_difference" in result.stderr


def test_the_defaults_that_help_shows_are_those_of_a_distillation(run: Callable[..., Any]) -> None:
    import inspect

    from trimtab.cli import learn as door
    from trimtab.learn.distillation.distill import distill

    shown = {
        name: parameter.annotation
        for name, parameter in inspect.signature(door.command, eval_str=True).parameters.items()
    }

    def default(name: str) -> str:
        return str(shown[name].__metadata__[0].show_default)

    far = Schedule().fitted(edits=5, tokens=40.0, near=False)
    least, most = (Schedule().fitted(edits=5, tokens=tokens, near=True).steps for tokens in (1e6, 1.0))
    assert default("steps") == f"{far.steps}, or {least} to {most}"
    function = inspect.signature(distill).parameters
    assert default("form") == function["form"].default
    assert int(default("phrasings")) == function["phrasings"].default
    least = Schedule().fitted(edits=5, tokens=1e6, near=False).batch_size
    assert f"({least} to {far.batch_size})" in str(shown["batch_size"].__metadata__[0].help)


def test_a_scorer_reaches_the_distillation(
    run: Callable[..., Any],
    distilled: list[dict[str, Any]],
    model: tuple[object, ...],
    model_folder: Path,
    tmp_path: Path,
) -> None:
    result = run("learn", "json", *model, "--scorer", model_folder, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert distilled[0]["scorer"].name == str(model_folder)
    assert distilled[0]["scorer"].score(["what is a river"], ["a city"])[0].nll > 0
    result = run("learn", "json", *model, "--scorer", "./none", "--out", tmp_path / "other")
    assert result.exit_code == 2
    assert len(distilled) == 1


def test_quality_out_of_bounds_is_a_warning_and_stays_with_the_steering(
    run: Callable[..., Any],
    distilled: list[dict[str, Any]],
    model: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = learn.distill
    plain = Quality(2.0, 0.0, None, 100.0)
    looping = compare(replace(plain, repetition=0.5), plain)

    def spoilt(*arguments: Any, **settings: Any) -> Distilled:
        found = going(*arguments, **settings)
        trial = replace(found.trials[0], comparison=looping, followed=1.0)
        record = found.steering.record
        measured = {**record.measurements["validation"], "followed": 1.0, **trial.quality()}
        steering = replace(found.steering, record=replace(record, measurements={"validation": measured}))
        return replace(found, steering=steering, trials=(trial,))

    monkeypatch.setattr(learn, "distill", spoilt)
    result = run("learn", "json", *model, "--out", tmp_path / "out", "--json", tmp_path / "result.json")
    assert result.exit_code == 0, result.output
    said = "out of the bounds of quality on validation: repetition 0.5 above 0.02"
    assert said in " ".join(result.stderr.split())
    assert "repetition" in result.stdout
    [trial] = json.loads((tmp_path / "result.json").read_text())["trials"]
    assert trial["within"] is False
    shown = run("inspect", tmp_path / "out").stdout
    assert "on validation, quality is out of bounds: repetition 0.5 above 0.02" in shown
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "**Quality is out of bounds on validation, beside plain answers: repetition 0.5 above 0.02.**" in card
    )
