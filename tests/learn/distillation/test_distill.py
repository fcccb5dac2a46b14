"""Distillation from queries to a steering: what is tried, chosen, recorded and refused."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.learn.planted import BLOCKS as PLANTED_BLOCKS
from tests.learn.planted import WIDTH, PlantedEngine
from tests.learn.scripted import HELD_OUT, QUERIES, Asked, Scripted
from tests.tiny import BLOCKS, hooks_of, random_steering

import trimtab
from trimtab import instructions, learn, prompts
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.instructions import Question
from trimtab.instructions.registry import REGISTER
from trimtab.learn.distillation.gathering import gather
from trimtab.learn.distillation.sizes import Size, default_sizes, sizes_to_try
from trimtab.measure.judges import Calibration, InstructionJudge
from trimtab.prompts import PromptPair
from trimtab.steering.steering import Record, Steering

NO_COMMAS = instructions.get("no_commas")
SCHEDULE = learn.Schedule(steps=4, batch_size=4, save_every=1)


def distilled(engine: Any, instruction: Any = NO_COMMAS, **settings: Any) -> learn.Distilled:
    chosen = {"validation": HELD_OUT, "schedule": SCHEDULE, "others": [], **settings}
    return learn.distill(engine, chosen.pop("queries", QUERIES), instruction, **chosen)


def deaf(asked: Asked) -> str:
    """Follows when told, and never when steered."""
    return "quite, so" if asked.is_bare else "quite so"


def test_a_steering_that_follows_is_found_with_few_edits_and_recorded(tmp_path: Path) -> None:
    engine = Scripted()
    found = distilled(engine)
    assert [trial.size for trial in found.trials] == [Size((0, 1, 2))]
    assert found.history == found.trials[0].history
    steering = found.steering
    assert steering.name == "no_commas"
    assert len(steering.edits) == BLOCKS
    record = steering.record
    assert record.method == "distilled"
    assert record.instructions == (NO_COMMAS.to_dict(),)
    assert record.prompts == prompts.digest(prompts.make_pairs(QUERIES, NO_COMMAS, "learning", 0))
    measured = record.measurements["validation"]
    assert (measured["n"], measured["followed"], measured["instructed_followed"]) == (2, 1.0, 1.0)
    assert record.settings["lessons"] == {"plain": 8, "instructed": 3, "other": 0}
    assert Steering.load(steering.save(tmp_path / "saved"), engine.identity).digest() == steering.digest()
    assert hooks_of(engine.model) == 0


def test_more_edits_are_tried_while_too_few_answers_follow() -> None:
    told: list[tuple[Any, ...]] = []
    found = distilled(Scripted(deaf), progress=lambda *what: told.append(what))
    assert [trial.size.rank for trial in found.trials] == [1, 2]
    assert [trial.followed for trial in found.trials] == [0.0, 0.0]
    assert found.steering.record.settings["rank"] == 1 + (
        float(found.trials[1].held_out or 0) < float(found.trials[0].held_out or 0)
    )
    assert [what[:3] for what in told[:3]] == [
        ("no_commas: choosing the teacher", 0, None),
        (f"no_commas: {found.choice.line}" if found.choice else "", 0, None),
        ("no_commas: answering as instructed", 0, 8),
    ]
    assert ("no_commas: answering as instructed", 8, 8) in [what[:3] for what in told]
    loss = found.history[-1].loss
    learning = [what for what in told if what[0] == "no_commas: learning 6 edits in 3 blocks"]
    assert learning[-1][1:] == (4, 4, f"loss {loss:.3f}")
    assert told[-1][0] == "no_commas: measuring 6 edits"


def test_the_set_that_follows_most_is_chosen() -> None:
    def half(asked: Asked) -> str:
        # The second set, whose answers are asked for when the first one's are known, does not follow at all.
        good = asked.steered and asked.prompt == HELD_OUT[0] and asked.before == 1  # it was asked unsteered
        return "quite so" if good or not asked.is_bare else "quite, so"

    found = distilled(Scripted(half), pool=())
    assert [trial.followed for trial in found.trials] == [0.5, 0.0]
    assert found.steering.record.settings["rank"] == 1


def test_blocks_and_rank_are_taken_as_given() -> None:
    engine = Scripted(deaf)
    found = distilled(engine, blocks=[-1, 0], rank=2)
    assert [trial.size for trial in found.trials] == [Size((0, 2), 2)]
    assert [edit.block for edit in found.steering.edits] == [0, 0, 2, 2]
    with pytest.raises(ModelError, match="no block 7"):
        distilled(engine, blocks=[7])


def test_rectified_edits_are_learned_and_are_nothing_to_start_from() -> None:
    engine = Scripted()
    found = distilled(engine, form="psr", blocks=[0, 1], rank=1).steering
    assert [(edit.block, edit.rectified) for edit in found.edits] == [(0, True), (1, True)]
    assert found.record.settings["form"] == "psr"
    with pytest.raises(SteeringError, match="rectified edits"):
        distilled(engine, start=found)


def test_several_instructions_become_one_steering() -> None:
    found = distilled(Scripted(), [NO_COMMAS, instructions.get("exclude", word="well")])
    assert found.steering.name == 'no_commas and exclude(word="well")'
    assert [one["name"] for one in found.steering.record.instructions] == ["no_commas", "exclude"]


def test_a_killed_run_asks_nothing_twice_and_ends_the_same(tmp_path: Path) -> None:
    whole = distilled(Scripted())

    def kill(stage: str, done: int, *more: object) -> None:
        if "learning" in stage and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distilled(Scripted(), checkpoint=tmp_path / "training", progress=kill)
    engine = Scripted()
    told: list[tuple[Any, ...]] = []
    again = distilled(engine, checkpoint=tmp_path / "training", progress=lambda *what: told.append(what))
    steps = [what[1] for what in told if "learning" in what[0]]
    assert steps == [3, 4]  # the third was saved before it was told
    assert all(one.is_bare for one in engine.asked)  # the teacher was not asked again
    for one, other in zip(again.steering.edits, whole.steering.edits, strict=True):
        assert one.content() == other.content()
    assert again.trials == whole.trials


def test_who_watches_sees_every_step_and_what_was_learned_and_changes_nothing() -> None:
    seen: list[tuple[Any, int]] = []
    engine = Scripted()

    def watch(step: Any, edits: Any) -> None:
        trial = Steering("trial", edits(), Record(engine.identity))
        engine.generate(["who is it"], steering=trial, max_new_tokens=2)
        seen.append((step, len(trial.edits)))

    found = distilled(engine, watch=watch)
    assert [step for step, _ in seen] == list(found.history)
    assert {count for _, count in seen} == {len(found.steering.edits)}
    assert found.steering.digest() == distilled(Scripted()).steering.digest()


def test_an_instruction_that_is_not_followed_on_validation_still_gives_a_steering(tmp_path: Path) -> None:
    def answer(asked: Asked) -> str:
        return "quite, so" if "who is" in asked.prompt else "quite so"

    found = distilled(Scripted(answer), pool=(), teacher="told")
    assert found.instructed_followed == 0
    assert found.trials[0].held_out is None
    assert found.steering.record.measurements["validation"]["divergence"] is None
    found.steering.save(tmp_path / "saved")


def test_a_steering_is_gone_on_from() -> None:
    engine = Scripted()
    start = random_steering(engine, tokens="generated")
    found = distilled(engine, start=start)
    assert [(edit.block, edit.tokens) for edit in found.steering.edits] == [
        (edit.block, edit.tokens) for edit in start.edits
    ]
    assert found.steering.digest() != start.digest()
    with pytest.raises(SteeringError, match="keeps its blocks and ranks"):
        distilled(engine, start=start, rank=2)
    with pytest.raises(SteeringError, match="nothing to start from"):
        distilled(engine, start=Steering("empty", (), start.record))


def test_an_instruction_without_a_check_is_referred_to_what_needs_none() -> None:
    mood = instructions.instruction("mood", phrasings=["Be cheerful."])(lambda: None)
    try:
        with pytest.raises(SteeringError, match=r"mood has no check, .* --method mean_difference"):
            distilled(Scripted(), mood())
    finally:
        REGISTER.remove("mood")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"queries": []}, PromptError, "no queries to learn on"),
        ({"queries": QUERIES[:5]}, PromptError, "6 answers that pass or more, and here are 5 questions"),
        ({"validation": []}, PromptError, "no validation queries"),
        ({"validation": QUERIES[:1]}, PromptError, "'what is the river' is among those to learn on and"),
        ({"form": "cubic"}, SteeringError, "one of gated, vector, loreft, psr, not 'cubic'"),
        ({"rank": 0}, SteeringError, "rank of a distillation must be a whole number from 1 on"),
        ({"form": "vector", "rank": 2}, SteeringError, "one edit per block, not 2"),
        (
            {"phrasings": 0},
            SteeringError,
            "phrasings of a distillation must be a whole number from 1 on, not 0",
        ),
        ({"other": -1.0}, SteeringError, "other of a distillation must be a share between 0 and 1"),
        (
            {"instructed": float("nan")},
            SteeringError,
            "instructed of a distillation must be a share between 0 and 1",
        ),
        (
            {"instruction": [instructions.get("lowercase"), instructions.get("uppercase")]},
            SteeringError,
            "lowercase and uppercase cannot be followed at once",
        ),
        ({"instruction": []}, SteeringError, "no instruction to learn"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    engine = Scripted()
    with pytest.raises(error, match=words):
        distilled(engine, **settings)
    assert engine.asked == []


def test_an_engine_without_gradients_is_refused() -> None:
    with pytest.raises(ModelError, match="needs gradients, which a PlantedEngine has none of"):
        distilled(PlantedEngine(torch.zeros(PLANTED_BLOCKS, WIDTH)))


def test_queries_to_validate_with_are_none_of_those_to_learn_on() -> None:
    engine: Any = Scripted()
    drawn = prompts.default_queries(engine.identity, "validation", 24, 0)
    found = distilled(engine, queries=drawn[:8], validation=None, pool=())
    assert found.steering.record.measurements["validation"]["n"] == 24
    told = [one.prompt for one in engine.asked if not one.is_bare]
    assert sum(any(prompt.startswith(f"{query} ") for query in drawn[:8]) for prompt in told) == 8
    everything = prompts.default_queries(engine.identity, "validation")
    engine.asked.clear()
    with pytest.raises(PromptError, match="are among those to learn on; give others to validate with"):
        distilled(engine, queries=everything, validation=None)
    assert engine.asked == []


def test_lessons_of_a_file_of_instructions_that_was_edited_are_gathered_anew(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    asked = []
    try:
        for regex in ("^quite", "^quite", "so$"):
            file.write_text(f"[terse]\nphrasings = ['Be terse.']\nregex = '{regex}'\n")
            [terse] = instructions.load_file(file)
            engine = Scripted()
            distilled(engine, terse(), checkpoint=tmp_path / "training", pool=())
            asked.append(sum("terse" in one.prompt for one in engine.asked))
    finally:
        REGISTER.remove("terse")
    assert asked == [10, 0, 10]


PAIRS = [PromptPair(f"{query} {end}", f"In a few words: {query} {end}") for query in QUERIES for end in "?!"]


def test_prompt_pairs_are_learned_from_without_an_instruction(tmp_path: Path) -> None:
    engine = Scripted(lambda asked: "quite so" if "river" not in asked.prompt else None)
    found = learn.distill(engine, PAIRS, schedule=SCHEDULE)
    assert len(found.trials) == 1
    assert (found.trials[0].followed, found.instructed_followed) == (None, None)
    assert (found.lessons.asked, found.trials[0].held_out is None) == (13, False)  # three are held out
    assert found.lessons.count("other") == 0
    assert {one.prompt for one in engine.asked} == {pair.instructed for pair in PAIRS}
    record = found.steering.record
    assert record.instructions == ()
    assert record.measurements["validation"]["n"] == 3
    assert "followed" not in record.measurements["validation"]
    loaded = Steering.load(found.steering.save(tmp_path / "saved"), engine.identity)
    assert (loaded.name, loaded.digest()) == ("prompt pairs", found.steering.digest())
    assert found.steering.describe()


def test_prompt_pairs_say_an_instruction_in_their_own_words() -> None:
    engine = Scripted()
    found = learn.distill(engine, PAIRS[2:], "no_commas", validation=PAIRS[:2], schedule=SCHEDULE)
    assert found.steering.record.instructions == (NO_COMMAS.to_dict(),)
    assert found.steering.record.prompts == prompts.digest(PAIRS[2:])
    assert found.instructed_followed == found.trials[0].followed == 1.0
    told = {one.prompt for one in engine.asked}
    assert told == {pair.instructed for pair in PAIRS} | {pair.plain for pair in PAIRS[:2]}


class CountsWords(InstructionJudge):
    """Says yes of an answer of one word."""

    def ask(self, question: Question, responses: Sequence[str], **options: Any) -> list[float | None]:
        return [1.0 if len(one.split()) == 1 else -1.0 for one in responses]


def test_all_told_answers_are_accepted_where_that_is_wanted() -> None:
    """Half the told answers would not pass the judge, and are lessons all the same; the shares are the judge's."""
    formal = instructions.get("formal")

    def answer(asked: Asked) -> str | None:
        if asked.steered:
            return "so"
        return "plain it is" if asked.is_bare else "quite" if "city" in asked.prompt else "quite so"

    unseen = distilled(Scripted(answer), formal, accept="all", others=None)
    assert (unseen.lessons.asked, unseen.lessons.passed) == (len(QUERIES), len(QUERIES))
    assert len(unseen.trials) == 1
    assert (unseen.trials[0].followed, unseen.instructed_followed) == (None, None)
    record = unseen.steering.record
    assert record.instructions == (formal.to_dict(),)
    assert record.settings["accept"] == "all"
    assert "judges" not in record.settings
    assert "followed" not in record.measurements["validation"]

    judge = CountsWords("counts words")
    assert formal.question is not None
    judge._calibrations[formal.question] = Calibration()
    seen = distilled(Scripted(answer), formal.judged_by(judge), accept="all", others=None)
    assert seen.lessons.passed == len(QUERIES)
    assert (seen.trials[0].followed, seen.instructed_followed) == (1.0, 0.0)
    assert seen.steering.record.settings["judges"] == {"formal": "counts words"}
    assert seen.steering.record.measurements["validation"]["baseline_followed"] == 0.0
    with pytest.raises(PromptError, match="follows formal in 1 of 8 questions"):
        distilled(Scripted(answer), formal.judged_by(judge))


def test_what_a_judge_passes_of_a_tone_that_was_cut_off_is_learned_without_an_end() -> None:
    formal, asked = instructions.get("formal"), []

    class Remembers(CountsWords):
        def ask(self, question: Question, responses: Sequence[str], **options: Any) -> list[float | None]:
            asked.append(list(responses))
            return super().ask(question, responses, **options)

    judge = Remembers("counts words")
    assert formal.question is not None
    judge._calibrations[formal.question] = Calibration()
    engine = Scripted(lambda asked: None if "river" in asked.prompt or "sea" in asked.prompt else "quite so")
    engine.unfinished = "quite"
    wanted = [formal.judged_by(judge)]
    found = gather(engine, QUERIES, wanted, "learning", least=1)
    assert (found.passed, len(found.lessons)) == (2, 2)
    assert not any(one.ended for one in found.lessons)
    assert asked[0] == ["quite", "quite so"]  # of a round all are read at once, and none twice


def test_all_answers_are_accepted_of_one_that_comes_to_an_end_and_is_told() -> None:
    cut = Scripted(lambda asked: None if "river" in asked.prompt else "quite so")
    found = distilled(cut, "no_commas", accept="all", others=None, queries=[*QUERIES, "who", "what", "why"])
    assert (found.lessons.asked, found.lessons.passed) == (11, 10)
    assert found.steering.record.settings["accept"] == "all"
    assert found.trials[0].followed == found.instructed_followed == 1.0  # what has a check is checked
    with pytest.raises(SteeringError, match="accepted of the told model alone"):
        distilled(Scripted(), accept="all", teacher="constrained")
    with pytest.raises(SteeringError, match="accept is one of followed, all"):
        distilled(Scripted(), accept="most")
    with pytest.raises(SteeringError, match="no other instructions"):
        distilled(Scripted(), accept="all", others=["json"])
    with pytest.raises(SteeringError, match=r"formal has no check.*--accept all"):
        distilled(Scripted(), "formal")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"others": ["json"]}, SteeringError, "learned from as they are"),
        ({"phrasings": 2}, SteeringError, "learned from as they are"),
        ({"validation": HELD_OUT}, PromptError, "these are mixed"),
        ({"validation": PAIRS[:1]}, PromptError, "'what is the river \\?' is among those"),
    ],
)
def test_settings_that_do_not_go_with_prompt_pairs_are_refused(
    settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        learn.distill(Scripted(), PAIRS, **settings)
    with pytest.raises(PromptError, match="one prompt pair is too few"):
        learn.distill(Scripted(), PAIRS[:1])


def test_a_model_of_transformers_and_a_spelling_are_enough() -> None:
    nano: Any = trimtab.load("nano", device="cpu")
    queries = prompts.default_queries(nano.identity, "learning", 10)
    settings: dict[str, Any] = {"schedule": learn.Schedule(steps=2), "max_new_tokens": 48, "pool": ()}
    settings["validation"] = prompts.default_queries(nano.identity, "validation", 2)
    found = learn.distill((nano.model, nano.tokenizer), queries, "lowercase", **settings).steering
    assert found.record.instructions == (instructions.get("lowercase").to_dict(),)
    assert len(found.edits) == nano.identity.blocks


@given(st.integers(1, 200))
def test_default_sets_are_nested_and_inside_the_model(count: int) -> None:
    sizes = default_sizes(count)
    assert len(sizes) == len(set(sizes)) > 1
    for size in sizes:
        assert size.blocks == tuple(sorted(set(size.blocks)))
        assert 0 <= size.blocks[0] <= size.blocks[-1] < count
    for small, large in pairwise(sizes):
        assert set(small.blocks) <= set(large.blocks)
        assert small.rank <= large.rank
    if count > 6:
        assert len(sizes[0].blocks) == min(12, round(0.9 * (count - 1)) - round(0.05 * (count - 1)) + 1)


def test_vectors_of_one_block_are_one() -> None:
    engine = Scripted()
    assert [size.rank for size in sizes_to_try(engine, None, None, "vector", None)] == [1]
    assert sizes_to_try(engine, [1], None, "vector", None) == [Size((1,))]
    assert sizes_to_try(engine, [1], None, "loreft", None) == [Size((1,)), Size((1,), 2)]
    assert sizes_to_try(engine, None, 3, "gated", None) == [Size((0, 1, 2), 3)]


@pytest.mark.slow
def test_nano_learns_to_follow_what_its_prompt_does_not_say() -> None:
    engine: Any = trimtab.load("nano", device="cpu")
    instruction = instructions.get("no_commas")
    queries = prompts.default_queries(engine.identity, "learning", 16)
    found = learn.distill(
        engine,
        queries,
        instruction,
        validation=prompts.default_queries(engine.identity, "validation", 8),
        schedule=learn.Schedule(steps=30),
        max_new_tokens=128,
        pool=(),
    )
    asked = prompts.default_queries(engine.identity, "test", 12)
    plain = engine.generate(asked, max_new_tokens=128)
    steered = engine.generate(asked, steering=found.steering, max_new_tokens=128)
    followed = sum(instruction.check(one.text) for one in steered)
    assert followed >= 9
    assert followed > sum(instruction.check(one.text) for one in plain)
