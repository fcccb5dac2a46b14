from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.evaluate.fakes import ANSWER, FakeEngine, steering

from trimtab import instructions
from trimtab.engines.base import Generation
from trimtab.errors import PromptError
from trimtab.measure.responses import respond, respond_baseline
from trimtab.measure.rows import (
    ALL_CONDITIONS,
    CONDITIONS,
    compare_with_plain,
    evaluate_instruction,
    judge,
    with_test,
)

QUERIES = ["What is the River?", "Tell me about the River.", "Why do people love the River?"]
LOWERCASE = instructions.get("lowercase")


def test_the_four_conditions_are_measured_in_one_call() -> None:
    engine = FakeEngine()
    rows = evaluate_instruction(engine, LOWERCASE, steering(), QUERIES)
    assert [row.condition for row in rows] == list(CONDITIONS)
    assert [row.followed for row in rows] == [0.0, 1.0, 1.0, 1.0]
    assert [row.method for row in rows] == [None, None, "mean_difference", "mean_difference"]
    assert [row.n for row in rows] == [3] * 4
    assert [len(batch) for batch in engine.generated] == [12]


def test_the_constrained_conditions_are_measured_on_request_in_the_same_call() -> None:
    engine = FakeEngine()
    rows = evaluate_instruction(engine, LOWERCASE, steering(), QUERIES, constrained=True)
    assert [row.condition for row in rows] == list(ALL_CONDITIONS)
    assert [row.followed for row in rows] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    # What is steered already, a constraint has nothing to take from.
    assert [row.quality.taken for row in rows] == [None] * 4 + [0.5, 0.0]
    assert [len(batch) for batch in engine.generated] == [18]
    assert [r.prompt for row in rows[4:] for r in row.responses] == QUERIES * 2
    assert [
        r.condition for r in evaluate_instruction(FakeEngine(), LOWERCASE, None, QUERIES, constrained=True)
    ] == [
        "baseline",
        "instructed",
        "constrained",
    ]


def test_an_instruction_without_a_constraint_has_only_the_free_conditions() -> None:
    rows = evaluate_instruction(
        FakeEngine(), instructions.get("language", language="de"), steering(), QUERIES, constrained=True
    )
    assert [row.condition for row in rows] == list(CONDITIONS)


def test_only_instructed_prompts_say_the_instruction_in_test_phrasings() -> None:
    engine = FakeEngine()
    rows = {row.condition: row for row in evaluate_instruction(engine, LOWERCASE, steering(), QUERIES)}
    assert [r.prompt for r in rows["baseline"].responses] == QUERIES
    assert [r.prompt for r in rows["steered"].responses] == QUERIES
    test = LOWERCASE.phrasings("test")
    for condition in ("instructed", "instructed+steered"):
        for query, response in zip(QUERIES, rows[condition].responses, strict=True):
            assert response.query == query
            assert response.prompt.removeprefix(query + " ") in test


def test_a_steering_that_does_nothing_shows_nothing() -> None:
    rows = {r.condition: r for r in evaluate_instruction(FakeEngine(), LOWERCASE, steering(block=1), QUERIES)}
    assert rows["steered"].followed == 0.0
    assert rows["instructed+steered"].followed == 1.0


def test_perplexity_is_measured_against_the_bare_query_in_every_condition() -> None:
    engine = FakeEngine()
    rows = evaluate_instruction(engine, LOWERCASE, steering(), QUERIES)
    assert engine.scored[0][0] == QUERIES * 4
    assert [row.quality.perplexity for row in rows] == [
        pytest.approx(math.exp(x)) for x in (1.0, 1.5, 1.5, 1.5)
    ]


def test_an_answer_of_blanks_has_no_perplexity() -> None:
    class Silent(FakeEngine):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            return [Generation(" \n", (32, 10), i, True) for i, _ in enumerate(prompts)]

    engine = Silent()
    row = evaluate_instruction(engine, LOWERCASE, None, QUERIES)[0]
    assert row.to_dict()["quality"] == {
        "perplexity": None,
        "repetition": 0.0,
        "facts": None,
        "tokens": 2.0,
        "scorer_perplexity": None,
        "relevance": None,
        "taken": None,
    }
    assert engine.scored == []


def test_a_shared_baseline_is_not_generated_again() -> None:
    engine = FakeEngine()
    baseline = respond_baseline(engine, QUERIES)
    alone = evaluate_instruction(engine, LOWERCASE, steering(), QUERIES)
    shared = evaluate_instruction(engine, LOWERCASE, steering(), QUERIES, baseline=baseline)
    assert [len(batch) for batch in engine.generated] == [3, 12, 9]
    assert [row.to_dict() for row in shared] == [row.to_dict() for row in alone]


def test_a_baseline_of_other_queries_is_refused() -> None:
    engine = FakeEngine()
    with pytest.raises(PromptError, match="other queries"):
        evaluate_instruction(engine, LOWERCASE, None, QUERIES, baseline=respond_baseline(engine, QUERIES[:2]))


def test_without_a_steering_two_conditions_remain() -> None:
    rows = evaluate_instruction(FakeEngine(), LOWERCASE, None, QUERIES)
    assert [row.condition for row in rows] == ["baseline", "instructed"]


def test_no_queries_are_refused() -> None:
    with pytest.raises(PromptError, match="no queries"):
        evaluate_instruction(FakeEngine(), LOWERCASE, None, [])


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (None, None),
        (lambda query, response: None, None),
        (lambda query, response: 1.0 if "What" in query else None, 1.0),
        (lambda query, response: 0.5 if query == QUERIES[0] else 1.0, 5 / 6),
    ],
)
def test_facts_are_averaged_where_they_can_be_judged(
    facts: Callable[[str, str], float | None] | None, expected: float | None
) -> None:
    rows = evaluate_instruction(FakeEngine(), LOWERCASE, steering(), QUERIES, facts=facts)
    for row in rows:
        assert row.quality.facts == (None if expected is None else pytest.approx(expected))


def test_facts_are_judged_by_the_bare_query() -> None:
    seen: set[tuple[str, str]] = set()

    def facts(query: str, response: str) -> float:
        seen.add((query, response))
        return 1.0

    evaluate_instruction(FakeEngine(), LOWERCASE, steering(), QUERIES, facts=facts)
    assert seen == {(query, text) for query in QUERIES for text in (ANSWER, ANSWER.lower())}


def test_the_row_as_json_has_the_documented_fields() -> None:
    row = evaluate_instruction(FakeEngine(), instructions.get("sentences", at_most=2), steering(), QUERIES)[2]
    assert row.to_dict() == {
        "instruction": "sentences",
        "params": {"at_most": 2},
        "condition": "steered",
        "method": "mean_difference",
        "n": 3,
        "followed": 0.0,
        "loose": 0.0,
        "undecided": 0.0,
        "quality": {
            "perplexity": round(math.exp(1.5), 4),
            "repetition": 0.0,
            "facts": None,
            "tokens": float(len(ANSWER)),
            "scorer_perplexity": None,
            "relevance": None,
            "taken": None,
        },
    }


def test_strict_and_loose_are_told_apart() -> None:
    class Polite(FakeEngine):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            return [
                type(g)("Of course:\n" + g.text.lower(), g.token_ids, g.prompt_index, g.finished)
                for g in super().generate(prompts, **options)
            ]

    row = evaluate_instruction(Polite(), LOWERCASE, None, QUERIES)[0]
    assert (row.followed, row.followed_loose) == (0.0, 1.0)


def test_answers_that_ran_into_the_limit_are_counted() -> None:
    assert evaluate_instruction(FakeEngine(ends=False), LOWERCASE, None, QUERIES)[0].finished == 0.0
    row = evaluate_instruction(FakeEngine(), LOWERCASE, None, QUERIES)[0]
    assert row.finished == 1.0
    assert row.words == len(ANSWER.split())


def test_an_instruction_about_the_query_is_judged_by_each_query() -> None:
    repeat = instructions.get("repeat_prompt")
    responses = respond(FakeEngine(), QUERIES, QUERIES)
    echoed = [type(r)(r.query, r.prompt, f"{r.query} {r.text}", True, 1.0, 0.0, None) for r in responses]
    assert judge(repeat, "baseline", None, responses).followed == 0.0
    assert judge(repeat, "baseline", None, echoed).followed == 1.0


def test_nothing_to_answer_is_no_call() -> None:
    engine = FakeEngine()
    assert respond(engine, [], []) == []
    assert engine.generated == []
    with pytest.raises(PromptError, match="1 queries but 0 prompts"):
        respond(engine, ["a"], [])


def test_a_record_says_where_quality_is_out_of_bounds() -> None:
    class Curt(FakeEngine):
        """Steered, a word is all it says."""

        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            edits = self.edits_of_rows(options.get("steering"), len(prompts))
            return [
                Generation("love it", tuple(b"love it"), one.prompt_index, True) if row else one
                for one, row in zip(super().generate(prompts, **options), edits, strict=True)
            ]

    test = with_test(steering(), evaluate_instruction(Curt(), LOWERCASE, steering(), QUERIES)).record
    assert test.out_of_bounds == {"test": [f"length in tokens 7 below {0.75 * len(ANSWER):.3g}"]}
    assert test.measurements["test"]["instructed+steered"]["within"] is False
    assert "within" not in test.measurements["test"]["instructed"]
    fine = with_test(steering(), evaluate_instruction(FakeEngine(), LOWERCASE, steering(), QUERIES)).record
    # Lowercase answers are odder, as those of the instructed model are.
    assert fine.measurements["test"]["steered"]["against_plain"]["perplexity"] > 1.1
    assert fine.out_of_bounds == {}


def test_an_instruction_about_length_may_shorten_answers() -> None:
    row, plain = (
        judge(instructions.get("sentences", at_most=1), condition, None, respond(engine, QUERIES, QUERIES))
        for condition, engine in (("steered", Short()), ("baseline", FakeEngine()))
    )
    assert compare_with_plain(row, plain).within
    assert not compare_with_plain(replace(row, instruction=LOWERCASE), plain).within


class Short(FakeEngine):
    def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
        return [Generation("The River", b"The River", i, True) for i, _ in enumerate(prompts)]
