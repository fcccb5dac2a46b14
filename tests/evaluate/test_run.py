from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.fakes import FakeEngine, steering

from trimtab import instructions
from trimtab.engines.base import Generation
from trimtab.errors import PromptError, TrimtabError
from trimtab.evaluate import suites
from trimtab.evaluate.cache import ContentCache
from trimtab.evaluate.results import Evaluation
from trimtab.evaluate.run import evaluate_suite
from trimtab.files import sealed, unsealed
from trimtab.instructions import instruction
from trimtab.instructions.registry import REGISTER
from trimtab.measure import facts
from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS, evaluate_instruction
from trimtab.measure.scorer import NEUTRAL, Scorer
from trimtab.report.tables import suite_caption
from trimtab.steering import when
from trimtab.steering.collection import SteeringSet

QUERIES = ["What is the River?", "Tell me about the River.", "Why do people love the River?"]
LOWERCASE = instructions.get("lowercase")
SUITE = suites.from_queries("river", QUERIES, [LOWERCASE])
MIXED = suites.read(
    [
        {"key": "a", "query": "River?", "prompt": "River? In lowercase.", "instructions": ["lowercase"]},
        {"key": "b", "prompt": "Oslo? In lowercase.", "instructions": ["lowercase", "sentences(exactly=3)"]},
        {"key": "c", "query": "Sea?", "prompt": "Sea? As JSON.", "instructions": ["json"]},
    ]
)


def measure(engine: FakeEngine | None = None, **options: Any) -> Evaluation:
    return evaluate_suite(engine or FakeEngine(), SUITE, SteeringSet([steering()]), **options)


def test_a_suite_measures_what_the_four_conditions_of_one_instruction_do() -> None:
    rows = measure(facts=lambda query, text: 0.5).rows()
    alone = evaluate_instruction(FakeEngine(), LOWERCASE, steering(), QUERIES, facts=lambda query, text: 0.5)
    assert [row.to_dict() for row in rows] == [row.to_dict() for row in alone]
    assert [row.label for row in rows] == ["lowercase"] * 4


def test_every_condition_of_every_item_is_answered_once() -> None:
    engine = FakeEngine()
    evaluation = measure(engine)
    assert evaluation.conditions == CONDITIONS
    assert sum(map(len, engine.generated)) == 12 == evaluation.new
    assert {(a.item.key, a.condition) for a in evaluation.answers} == {
        (item.key, condition) for item in SUITE.items for condition in CONDITIONS
    }


def test_all_conditions_can_be_asked_for_and_the_cache_tells_them_apart(tmp_path: Path) -> None:
    engine, cache = FakeEngine(), ContentCache(tmp_path)
    first = measure(engine, conditions=ALL_CONDITIONS, cache=cache)
    assert first.conditions == ALL_CONDITIONS
    assert first.new == 18
    taken = {row.condition: row.quality.taken for row in first.rows()}
    assert [taken[condition] for condition in ALL_CONDITIONS] == [None] * 4 + [0.5, 0.0]
    again = measure(engine, conditions=ALL_CONDITIONS, cache=cache)
    assert again.new == 0
    assert [answer.to_dict() for answer in again.answers] == [answer.to_dict() for answer in first.answers]
    assert ("constrained", "steered+constrained") in [(c.first, c.second) for c in first.comparisons()]
    alone = evaluate_instruction(FakeEngine(), LOWERCASE, steering(), QUERIES, constrained=True)
    assert [row.to_dict() for row in first.rows()] == [row.to_dict() for row in alone]


def test_closed_book_questions_are_asked_of_each_steering_and_kept(tmp_path: Path) -> None:
    engine, cache = Forgetful(), ContentCache(tmp_path)
    both = [
        steering(),
        replace(steering(1), name="other", record=replace(steering().record, instructions=())),
    ]
    suite = suites.from_queries("river", QUERIES, [LOWERCASE])
    evaluation = evaluate_suite(engine, suite, both[:1], questions=9, cache=cache)
    assert list(evaluation.closed_book) == ["lowercase"]
    assert evaluation.closed_book["lowercase"].n == 9
    assert evaluation.closed_book["lowercase"].lost == 1.0
    rows = {row.condition: row.quality.facts for row in evaluation.rows()}
    assert rows == {"baseline": 1.0, "instructed": None, "steered": 0.0, "instructed+steered": None}
    document = evaluation.to_dict(answers=False)["closed_book"]["lowercase"]
    assert (document["plain"]["right"], document["steered"]["right"]) == (1.0, 0.0)
    asked = sum(map(len, engine.generated))
    again = evaluate_suite(engine, suite, both[:1], questions=9, cache=cache)
    assert sum(map(len, engine.generated)) == asked
    assert again.closed_book == evaluation.closed_book
    mapped = evaluate_suite(engine, suite, {LOWERCASE: both[0]}, questions=12, cache=cache)
    assert mapped.closed_book["lowercase"].n == 12
    assert evaluate_suite(engine, suite, both[1], questions=3).closed_book["other"].lost == 0.0
    assert evaluate_suite(engine, suite, both[0]).closed_book == {}
    assert evaluate_suite(engine, suite, questions=3).closed_book == {}


class Forgetful(FakeEngine):
    """Knows the answer to every closed-book question, but not when block 2 is steered."""

    def generate(self, prompts: Any, **options: Any) -> list[Generation]:
        answers = super().generate(prompts, **options)
        edits = self.edits_of_rows(options.get("steering"), len(prompts), list(prompts))
        known = {one.text: one.answers[0] for one in facts.questions("test")}
        return [
            replace(answer, text=known[prompt])
            if prompt in known and not any(edit.block == 2 for edit in row)
            else answer
            for answer, prompt, row in zip(answers, prompts, edits, strict=True)
        ]


def test_items_without_a_constraint_have_only_the_free_conditions() -> None:
    mixed = suites.read(
        [
            {"key": "a", "query": "River?", "instructions": ["lowercase"]},
            {"key": "b", "query": "Oslo?", "instructions": ["lowercase", "no_commas"]},
            {"key": "c", "query": "Sea?", "instructions": ["language(de)"]},
            {"key": "d", "prompt": "Sea? In lowercase.", "instructions": ["lowercase"]},
        ]
    )
    evaluation = evaluate_suite(FakeEngine(), mixed, conditions=ALL_CONDITIONS)
    assert [answer.item.key for answer in evaluation.of("constrained")] == ["a", "b"]
    assert [answer.item.key for answer in evaluation.of("baseline")] == ["a", "b", "c"]


def test_conditions_that_no_prompt_has_are_refused() -> None:
    with pytest.raises(
        TrimtabError, match=r"no prompt of river has any of the conditions steered: .*steering"
    ):
        evaluate_suite(FakeEngine(), SUITE, conditions=["steered"])


def test_one_baseline_serves_all_instructions() -> None:
    engine = FakeEngine()
    both = suites.from_queries("river", QUERIES, [LOWERCASE, instructions.get("json")])
    evaluation = evaluate_suite(engine, both)
    assert len(evaluation.answers) == 12
    assert sum(map(len, engine.generated)) == 9
    assert [len(evaluation.of("baseline")), len(evaluation.of("instructed"))] == [6, 6]


def test_a_prompt_passes_only_with_all_of_its_instructions() -> None:
    evaluation = evaluate_suite(FakeEngine(), MIXED)
    by_condition = {accuracy.condition: accuracy for accuracy in evaluation.accuracies()}
    instructed = by_condition["instructed"]
    # a and b pass whole (three sentences in lowercase), c is no JSON.
    assert (instructed.prompts, instructed.instructions) == (3, 4)
    assert instructed.shares["prompt_strict"][0] == pytest.approx(2 / 3)
    assert instructed.shares["instruction_strict"][0] == pytest.approx(3 / 4)
    assert by_condition["baseline"].prompts == 2
    assert list(by_condition) == ["baseline", "instructed"]


def test_items_without_a_bare_query_have_only_the_instructed_conditions() -> None:
    kept = SteeringSet([steering()])
    evaluation = evaluate_suite(FakeEngine(), MIXED, kept)
    assert evaluation.left_out == {"no steering for all of its instructions": 2}
    inside = suites.read([{"prompt": "River? In lowercase.", "instructions": ["lowercase"]}])
    evaluation = evaluate_suite(FakeEngine(), inside, kept)
    assert evaluation.conditions == ("instructed", "instructed+steered")
    assert [c.first for c in evaluation.comparisons()] == ["instructed", "instructed"]


def test_the_quality_of_an_item_without_a_query_is_that_of_an_answer_to_its_prompt() -> None:
    engine = FakeEngine()
    evaluate_suite(engine, suites.read([{"prompt": "River? In lowercase.", "instructions": ["lowercase"]}]))
    assert engine.scored[0][0] == ["River? In lowercase."]


def test_no_steering_for_anything_says_what_there_is() -> None:
    suite = suites.from_queries("river", QUERIES, [instructions.get("json")])
    with pytest.raises(TrimtabError, match=r"none of the 3 prompts of river.*steerings for: lowercase"):
        evaluate_suite(FakeEngine(), suite, SteeringSet([steering()]))


def test_a_suite_that_nothing_can_judge_says_why() -> None:
    mood = instruction("mood", phrasings=["Be cheerful."])(lambda: None)()
    REGISTER.remove("mood")
    suite = suites.from_queries("river", QUERIES, [mood])
    with pytest.raises(TrimtabError, match=r"no prompt of river can be judged.*without a check \(mood"):
        evaluate_suite(FakeEngine(), suite)


def test_strengths_are_swept_on_the_same_items() -> None:
    engine = FakeEngine(breaks=3.0)
    evaluation = measure(engine, strengths=[0.5, 1, 4, 1.0])
    assert evaluation.strengths == (1.0, 0.5, 4.0)
    assert sum(map(len, engine.generated)) == 3 * 6
    steered = [a for a in evaluation.accuracies() if a.condition == "steered"]
    assert [(a.strength, a.shares["prompt_strict"][0]) for a in steered] == [
        (1.0, 1.0),
        (0.5, 1.0),
        (4.0, 1.0),
    ]
    # Past its strength the fake model only stammers, in lowercase: followed, and worthless.
    assert [a.quality.repetition > 0.5 for a in steered] == [False, False, True]
    assert evaluation.rows(4.0)[2].quality.repetition > 0.5
    assert evaluation.rows()[2].quality.repetition == 0.0
    assert measure(strengths=[2, 3]).strengths == (2.0, 3.0)


@pytest.mark.parametrize("strengths", [[], [0.0], [math.nan], [math.inf]])
def test_strengths_must_be_numbers_that_steer(strengths: list[float]) -> None:
    with pytest.raises(TrimtabError, match="strength must be a finite number"):
        measure(strengths=strengths)


def test_what_is_known_is_not_asked_again(tmp_path: Path) -> None:
    first, second, third = FakeEngine(), FakeEngine(), FakeEngine()
    before = measure(first, cache=ContentCache(tmp_path))
    after = measure(second, cache=ContentCache(tmp_path))
    assert (before.new, after.new) == (12, 0)
    assert second.generated == []
    assert after.answers == before.answers
    # Another length is another question; another steering leaves the answers without steering as they were.
    assert measure(cache=ContentCache(tmp_path), max_new_tokens=8).new == 12
    evaluate_suite(third, SUITE, SteeringSet([steering(1)]), cache=ContentCache(tmp_path))
    assert sum(map(len, third.generated)) == 6


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    class Dying(FakeEngine):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            if self.generated:
                raise KeyboardInterrupt
            return super().generate(prompts, **options)

    Dying.__name__ = "FakeEngine"  # the same engine, as far as the cache is concerned
    with pytest.raises(KeyboardInterrupt):
        measure(Dying(), cache=ContentCache(tmp_path), save_every=5)
    engine = FakeEngine()
    told: list[tuple[int, int]] = []
    evaluation = measure(
        engine,
        cache=ContentCache(tmp_path),
        save_every=5,
        progress=lambda stage, done, of=None, note="": told.append((done, of)),
    )
    assert evaluation.new == 7
    assert [len(batch) for batch in engine.generated] == [5, 2]
    assert told == [(5, 12), (10, 12), (12, 12)]
    assert evaluation.rows() == measure().rows()


KILLED = """
import os, signal, sys
from tests.evaluate.fakes import FakeEngine
from tests.evaluate.test_run import measure
from trimtab.evaluate.cache import ContentCache

class Dying(FakeEngine):
    def generate(self, prompts, **options):
        if self.generated:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(prompts, **options)

Dying.__name__ = "FakeEngine"
measure(Dying(), cache=ContentCache(sys.argv[1]), save_every=5)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process that way")
def test_a_process_that_was_killed_goes_on_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert measure(cache=ContentCache(tmp_path)).new == 7


@pytest.mark.parametrize(
    "damage", ['{"text": 1}', "3", '{"text": "a", "finished": true, "nll": "x", "tokens": 1}']
)
def test_an_entry_of_another_form_is_asked_again(tmp_path: Path, damage: str) -> None:
    measure(cache=ContentCache(tmp_path))
    entry = next(tmp_path.rglob("*.json"))
    key, _ = unsealed(entry.read_bytes())
    entry.write_text(sealed([key, json.loads(damage)]), encoding="ascii")
    assert measure(cache=ContentCache(tmp_path)).new == 1


def test_a_prompt_that_does_not_fit_is_found_at_once_and_named() -> None:
    class Small(FakeEngine):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            if any(len(prompt) > 40 for prompt in prompts):
                raise PromptError("prompt 0 has 41 tokens; shorten the prompt")
            return super().generate(prompts, **options)

    engine = Small()
    rows = [{"key": key, "query": "x" * n, "instructions": ["json"]} for key, n in (("a", 3), ("b", 50))]
    with pytest.raises(PromptError, match=r"shorten the prompt \(.*'b'"):
        evaluate_suite(engine, suites.read(rows), save_every=1)
    assert engine.generated == []


def test_comparisons_pair_the_same_prompts() -> None:
    comparisons = measure().comparisons()
    assert [(c.label, c.first, c.second) for c in comparisons] == [
        (None, "baseline", "steered"),
        ("lowercase", "baseline", "steered"),
        (None, "instructed", "instructed+steered"),
        ("lowercase", "instructed", "instructed+steered"),
    ]
    assert [(c.paired.gained, c.paired.lost) for c in comparisons] == [(3, 0), (3, 0), (0, 0), (0, 0)]
    assert comparisons[0].paired.p == pytest.approx(0.25)  # three coins that fell alike


def test_parameters_of_a_type_are_one_row_in_files_and_rows_of_their_own_elsewhere() -> None:
    two, three = (instructions.get("sentences", exactly=n) for n in (2, 3))
    rows = [{"query": "River?", "instructions": [one.to_dict()]} for one in (two, three)]
    together = evaluate_suite(FakeEngine(), suites.read(rows)).rows()
    assert [(row.label, row.n) for row in together] == [("sentences", 2)] * 2
    apart = evaluate_suite(FakeEngine(), suites.from_queries("river", QUERIES, [two, three])).rows()
    assert [row.label for row in apart] == [two.label] * 2 + [three.label] * 2


def test_an_instruction_about_the_query_is_judged_by_each_query() -> None:
    class Echo(FakeEngine):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            found = super().generate(prompts, **options)
            return [
                type(g)(f"{p} Then.", g.token_ids, g.prompt_index, g.finished)
                for p, g in zip(prompts, found, strict=True)
            ]

    suite = suites.from_queries("river", QUERIES, [instructions.get("repeat_prompt")])
    rows = evaluate_suite(Echo(), suite).rows()
    assert (rows[0].label, rows[0].n, rows[0].condition, rows[0].followed) == (
        "repeat_prompt",
        3,
        "baseline",
        1.0,
    )


def test_the_document_has_every_answer_with_its_verdicts() -> None:
    document = measure(strengths=[1, 2]).to_dict()
    assert document["items"] == 3
    assert [o["condition"] for o in document["overall"]] == [*CONDITIONS[:3], "steered", "instructed+steered"]
    assert len(document["answers"]) == 15
    answer = document["answers"][-1]
    assert answer["condition"] == "instructed+steered"
    assert answer["instructions"] == [{"name": "lowercase", "params": {}, "strict": True, "loose": True}]
    assert "answers" not in measure().to_dict(answers=False)
    row = document["rows"][2]
    assert (row["label"], row["followed"], row["interval"][1]) == ("lowercase", 1.0, 1.0)


def test_a_steering_that_acts_by_a_python_rule_is_measured_and_not_kept(tmp_path: Path) -> None:
    held = [True]
    ruled = steering().when(when.Rule(lambda prompt: held[0]))
    cache = ContentCache(tmp_path)
    first = evaluate_suite(FakeEngine(), SUITE, ruled, cache=cache)
    assert (first.new, {row.condition: row.followed for row in first.rows()}["steered"]) == (12, 1.0)
    held[0] = False
    second = evaluate_suite(FakeEngine(), SUITE, ruled, cache=cache)
    # What the model does by itself comes from the cache; what the rule decides is never taken from there.
    assert (second.new, {row.condition: row.followed for row in second.rows()}["steered"]) == (6, 0.0)


def test_steerings_may_be_given_alone_in_a_list_or_by_instruction() -> None:
    rows = [
        [row.to_dict() for row in evaluate_suite(FakeEngine(), SUITE, given).rows()]
        for given in (SteeringSet([steering()]), steering(), [steering()], {LOWERCASE: steering()})
    ]
    assert all(each == rows[0] for each in rows)
    three = instructions.get("sentences", exactly=3)
    both = suites.read([{"query": "River?", "instructions": ["lowercase", "sentences(exactly=3)"]}])
    together = evaluate_suite(FakeEngine(), both, {LOWERCASE: steering(), three: steering(3)})
    assert [answer.condition for answer in together.answers] == list(CONDITIONS)
    with pytest.raises(TrimtabError, match="has a steering for all of its instructions"):
        evaluate_suite(FakeEngine(), both, {LOWERCASE: steering()})


def test_a_model_of_transformers_and_spellings_will_do() -> None:
    from tests.tiny import random_steering, tiny_engine

    engine = tiny_engine("llama")
    pair = (engine.model, engine.tokenizer)
    suite = suites.from_queries("pair", ["River?"], "lowercase,json")
    steerings = {one: random_steering(engine) for one in suite.instructions}
    measured = evaluate_suite(pair, suite, steerings, max_new_tokens=4, conditions=("baseline", "steered"))
    assert measured.conditions == ("baseline", "steered")
    assert [row.label for row in measured.rows()] == ["lowercase", "lowercase", "json", "json"]
    rows = evaluate_instruction(pair, "lowercase", random_steering(engine), ["River?"], max_new_tokens=4)
    assert [row.condition for row in rows] == list(CONDITIONS)


def test_progress_counts_every_answer_and_is_a_line_where_nobody_watches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[tuple[str, int, int | None]] = []
    measure(progress=lambda stage, done, of=None, note="": told.append((stage, done, of)))
    assert told[0] == ("answering river", 0, 12)
    assert told[-1] == ("answering river", 12, 12)
    measure(progress=True)
    assert "answering river" in capsys.readouterr().err


class Reader(FakeEngine):
    """A scorer: an answer with the question's word is a nat likelier for it."""

    def score(self, prompts: Sequence[Any], responses: Sequence[Any], **options: Any) -> list[float]:
        self.scored.append((list(prompts), list(responses)))
        return [
            2.0 - ("River" in prompt and "river" in response.lower())
            for prompt, response in zip(prompts, responses, strict=True)
        ]


def test_a_scorer_scores_each_answer_to_its_bare_query_once() -> None:
    reader = Reader()
    evaluation = measure(scorer=Scorer(reader))
    assert {answer.response.relevance for answer in evaluation.answers} == {1.0}
    assert {answer.response.scorer_nll for answer in evaluation.answers} == {1.0}
    asked = [pair for queries, texts in reader.scored for pair in zip(queries, texts, strict=True)]
    assert len(asked) == len(set(asked))
    # Two texts to each of three queries, under four conditions; and each text on its own.
    assert len(asked) == 3 * 2 + 2
    assert {query for query, _ in asked} == {*QUERIES, NEUTRAL}
    row = next(one for one in evaluation.to_dict()["rows"] if one["condition"] == "steered")
    assert row["quality"]["relevance"] == 1.0
    assert row["quality"]["scorer_perplexity"] == pytest.approx(math.e, abs=1e-3)
    assert row["within"] is True
    assert row["against_plain"]["relevance"] == 1.0
    assert evaluation.to_dict()["answers"][0]["relevance"] == 1.0


def test_scores_are_kept_by_the_scorer_that_gave_them(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    first, second = Reader(), Reader()
    measure(scorer=Scorer(first), cache=cache)
    told: list[tuple[str, int, int | None]] = []
    again = measure(
        scorer=Scorer(second),
        cache=cache,
        progress=lambda stage, done, of=None, note="": told.append((stage, done, of)),
    )
    assert first.scored
    assert not second.scored
    assert {answer.response.relevance for answer in again.answers} == {1.0}
    assert told[-1] == ("scoring answers", 6, 6)

    class Other(Reader):
        pass

    other = Other()
    measure(scorer=Scorer(other), cache=cache)
    assert other.scored


def test_a_damaged_score_is_computed_anew(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    measure(scorer=Scorer(Reader()), cache=cache)
    for file in tmp_path.glob("*/*.json"):
        key, _ = unsealed(file.read_bytes())
        if key["kind"] == "score":
            file.write_text(sealed([key, {"nll": "odd"}]))
    reader = Reader()
    measure(scorer=Scorer(reader), cache=cache)
    assert sum(len(queries) for queries, _ in reader.scored) == 8


def test_without_a_scorer_there_are_no_scores() -> None:
    evaluation = measure()
    assert {answer.response.relevance for answer in evaluation.answers} == {None}
    assert evaluation.to_dict()["rows"][0]["quality"]["relevance"] is None


def test_what_no_check_can_tell_is_counted_apart() -> None:
    class Brief(FakeEngine):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            texts = {QUERIES[0]: "El cohete despegó al amanecer sobre el mar."}
            return [
                type(g)(texts.get(prompt, "Hola."), g.token_ids, g.prompt_index, g.finished)
                for prompt, g in zip(prompts, super().generate(prompts, **options), strict=True)
            ]

    suite = suites.from_queries("river", QUERIES, [instructions.get("language", language="es")])
    evaluation = evaluate_suite(Brief(), suite)
    row = evaluation.rows()[0]
    assert (row.condition, row.followed, row.undecided) == ("baseline", 1 / 3, (False, True, True))
    assert (row + row).take([1, 3]).undecided_share == 0.5
    document = evaluation.to_dict()
    assert document["overall"][0]["undecided"] == 2
    assert document["rows"][0]["undecided"] == 0.6667
    assert document["answers"][1]["instructions"][0]["undecided"]
    assert "undecided" not in document["answers"][0]["instructions"][0]
    assert "not among those that follow: 2 baseline, 3 instructed." in suite_caption(evaluation)
