"""Answers that are checked: what is called verified passes, and only rows that fail go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.fakes import FakeEngine, steering

import trimtab
from trimtab import instructions
from trimtab.engines.base import Generation
from trimtab.errors import InstructionError, ModelError, PromptError, SteeringError
from trimtab.steering.when import Matches

PLAIN = instructions.get("no_commas")
SHORT = instructions.get("sentences", at_most=1)
GOOD, BAD = "One and two.", "One, two."


class Call:
    """One row of one call of `generate`."""

    def __init__(self, prompt: Any, strength: float | None, options: dict[str, Any]) -> None:
        self.prompt = prompt
        self.query = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        self.strength = strength
        self.sampled = bool(options.get("do_sample"))
        self.options = options
        self.held = False


class Scripted(FakeEngine):
    """Answers by a function of what is asked; keeps what was asked, call by call."""

    def __init__(self, answer: Callable[[Call], str]) -> None:
        super().__init__()
        self.answer = answer
        self.calls: list[list[Call]] = []

    def generate(self, prompts: Sequence[Any], **options: Any) -> list[Generation]:
        edits = self.edits_of_rows(options.pop("steering"), len(prompts))
        calls = [
            Call(prompt, float(row[0].u.norm()) if row else None, options)
            for prompt, row in zip(prompts, edits, strict=True)
        ]
        for call, constraint in zip(
            calls, options.pop("constraints", None) or [None] * len(calls), strict=True
        ):
            call.held = constraint is not None
        self.calls.append(calls)
        texts = [self.answer(call) for call in calls]
        return [Generation(text, tuple(text.encode()), row, True) for row, text in enumerate(texts)]


def after(fails: dict[str, int]) -> Callable[[Call], str]:
    """Each query fails so many times; queries are single words, which instructed prompts begin with."""
    seen: Counter[str] = Counter()

    def answer(call: Call) -> str:
        query = call.query.split()[0]
        seen[query] += 1
        return GOOD if seen[query] > fails[query] else BAD

    return answer


@given(
    fails=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    budget=st.integers(1, 8),
    steered=st.booleans(),
)
def test_rows_are_tried_until_they_pass_or_the_budget_ends(
    fails: list[int], budget: int, steered: bool
) -> None:
    prompts = [f"q{number}" for number in range(len(fails))]
    engine = Scripted(after(dict(zip(prompts, fails, strict=True))))
    rows = trimtab.follow(engine, prompts, PLAIN, steering=steering() if steered else None, budget=budget)
    assert [row.prompt for row in rows] == prompts
    for row, failed in zip(rows, fails, strict=True):
        assert row.verified == (failed < budget)
        assert row.verified == PLAIN.check(row.text)
        assert len(row.attempts) == min(failed + 1, budget)
        assert [attempt.verified for attempt in row.attempts[:-1]] == [False] * (len(row.attempts) - 1)
        assert row.tokens == sum(len(attempt.text.encode()) for attempt in row.attempts)
    # Each round is one batch of the rows that still fail, and no row is asked more often than it must be.
    assert [len(calls) for calls in engine.calls] == [
        left for number in range(budget) if (left := sum(failed >= number for failed in fails))
    ]


@given(data=st.data())
def test_all_that_is_called_verified_passes_every_check(data: st.DataObject) -> None:
    """Whatever comes back, and whatever the caller's own test says of it."""
    texts = st.text("aB., ", max_size=12) | st.sampled_from([GOOD, BAD, "", "One. Two."])
    engine = Scripted(lambda call: data.draw(texts))
    choice = st.lists(st.sampled_from([PLAIN, SHORT]), min_size=1, max_size=2, unique=True)
    wanted = data.draw(st.lists(choice, min_size=1, max_size=4))
    prompts = [f"q{number}" for number in range(len(wanted))]
    fussy = data.draw(st.booleans())
    rows = trimtab.follow(
        engine,
        prompts,
        wanted,
        steering=steering(),
        budget=data.draw(st.integers(1, 7)),
        accept=(lambda query, text: len(text) % 2 == 0) if fussy else None,
    )
    for row, asked in zip(rows, wanted, strict=True):
        passes = [one.check(row.text) for one in asked]
        assert not row.verified or (all(passes) and (not fussy or len(row.text) % 2 == 0))
        assert list(row.attempt.followed) == passes
        assert sum(passes) == max(sum(one.followed) for one in row.attempts)
        assert row.verified == any(one.verified for one in row.attempts)


def test_what_is_tried_in_which_order() -> None:
    engine = Scripted(lambda call: BAD)
    [row] = trimtab.follow(engine, ["q"], PLAIN, steering=steering(), budget=8, strengths=(1, 2), seed=5)
    tried = [(one.condition, one.strength, one.sampled) for one in row.attempts]
    assert tried == [
        ("steered", 1.0, False),
        ("steered", 2.0, False),
        ("instructed+steered", 1.0, False),
        ("instructed", None, False),
        ("instructed+steered", 1.0, True),
        ("instructed", None, True),
        ("instructed+steered", 1.0, True),
        ("instructed", None, True),
    ]
    calls = [call for [call] in engine.calls]
    assert [call.strength for call in calls] == [one.strength for one in row.attempts]
    assert [call.query == "q" for call in calls] == [True, True, *[False] * 6]
    assert len({call.query for call in calls[2:]}) > 1  # other words each time
    assert [call.options.get("seed") for call in calls] == [None] * 4 + [9, 10, 11, 12]
    assert (row.verified, row.text) == (False, BAD)


def test_without_a_steering_the_plain_prompt_comes_first() -> None:
    engine = Scripted(lambda call: BAD)
    first, second = trimtab.follow(engine, ["a", "b"], PLAIN, steering=[None, steering()], budget=3)
    assert [one.condition for one in first.attempts] == ["baseline", "instructed", "instructed"]
    assert [one.strength for one in second.attempts] == [1.0, 1.5, 2.0]


def test_a_condition_that_does_not_hold_is_kept_to() -> None:
    engine = Scripted(lambda call: BAD)
    conditional = steering().when(Matches("river"))
    dry, wet = trimtab.follow(engine, ["a lake", "a river"], PLAIN, steering=conditional, budget=5)
    assert not any(one.strength for one in dry.attempts)
    assert [one.strength for one in wet.attempts][:4] == [1.0, 1.5, 2.0, 1.0]


def test_instructions_of_the_steering_are_those_to_follow() -> None:
    text = "the river is quiet and many people love it."
    [row] = trimtab.follow(Scripted(lambda call: text), ["q"], steering=steering())
    assert row.instructions == ("lowercase",)
    assert row.verified


@pytest.mark.parametrize(
    "wanted",
    ["no_commas,sentences(at_most=1)", ["no_commas", SHORT], [["no_commas", "sentences(at_most=1)"]]],
)
def test_instructions_may_be_spelled(wanted: Any) -> None:
    [row] = trimtab.follow(Scripted(lambda call: GOOD), ["q"], wanted)
    assert (row.instructions, row.verified) == (("no_commas", "sentences(at_most=1)"), True)


def test_a_model_of_transformers_and_its_tokenizer_are_followed_too(tiny_llama: Any) -> None:
    options: dict[str, Any] = {"budget": 2, "max_new_tokens": 4}
    pair = (tiny_llama.model, tiny_llama.tokenizer)
    assert trimtab.follow(pair, ["hi"], "json", **options) == trimtab.follow(
        tiny_llama, ["hi"], "json", **options
    )


def test_attempts_are_told_one_after_the_other(tiny_llama: Any) -> None:
    told: list[tuple[str, int]] = []
    trimtab.follow(
        tiny_llama,
        ["hi", "go"],
        "json",
        budget=2,
        max_new_tokens=2,
        progress=lambda stage, done, of=None, note="": told.append((stage, done)),
    )
    stages = [stage for stage, done in told if not done]
    assert list(dict.fromkeys(stages)) == ["attempt 1 of 2: writing", "attempt 2 of 2: writing"]
    assert stages == sorted(stages)


def test_in_a_chat_the_last_message_tells_the_instruction() -> None:
    engine = Scripted(lambda call: BAD)
    chat = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "q"}]
    [row] = trimtab.follow(engine, [chat], [PLAIN, SHORT], budget=2)
    told = engine.calls[1][0].prompt
    assert told[0] == chat[0]
    assert told[1]["content"].startswith("q ")
    assert chat[1]["content"] == "q"
    assert row.to_dict()["prompt"] == chat
    assert row.to_dict()["followed"] == {"no_commas": False, "sentences(at_most=1)": True}


def test_an_instruction_that_speaks_about_the_query_is_checked_for_each() -> None:
    rows = trimtab.follow(
        Scripted(lambda call: f"{call.query} and more"),
        ["one thing", "another"],
        instructions.get("repeat_prompt"),
    )
    assert [row.verified for row in rows] == [True, True]


def test_without_a_verified_answer_the_one_that_follows_most_is_given() -> None:
    texts = iter(["One, one. Two.", "One. Two.", "Three. Four.", "Five, five. Six."])
    [row] = trimtab.follow(Scripted(lambda call: next(texts)), ["q"], [PLAIN, SHORT], budget=4)
    assert (row.text, row.verified, row.attempt.followed) == ("One. Two.", False, (True, False))


def test_mistakes_are_seen_before_anything_is_generated() -> None:
    engine = Scripted(lambda call: GOOD)
    foreign = trimtab.Steering(
        "x", (), trimtab.Record(trimtab.ModelIdentity("other", None, "Other", 4, 8, "plain"))
    )
    mistakes: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (PromptError, "the most attempts. must be a whole number from 1 on, not 0", {"budget": 0}),
        (SteeringError, "finite", {"strengths": (float("inf"),)}),
        (SteeringError, "the shapes|the architectures|the names", {"steering": foreign}),
        (InstructionError, "no instruction is named", {"instructions": None}),
        (InstructionError, "no instruction is named", {"instructions": []}),
        (
            InstructionError,
            "cannot both be followed",
            {"instructions": [instructions.get("lowercase"), instructions.get("uppercase")]},
        ),
        (InstructionError, "for 3 prompts, and 1 prompts", {"instructions": [[PLAIN]] * 3}),
        (InstructionError, "for 2 prompts, and 1 prompts", {"instructions": [[PLAIN], "json"]}),
        (InstructionError, "jsn", {"instructions": "jsn"}),
    ]
    for kind, words, options in mistakes:
        given = {"instructions": PLAIN, **options}
        with pytest.raises(kind, match=words):
            trimtab.follow(engine, ["q"], **given)
    with pytest.raises(PromptError, match="put the one prompt"):
        trimtab.follow(engine, "q", PLAIN)  # type: ignore[arg-type]
    assert engine.calls == []


def test_the_same_seed_gives_the_same_answers_on_a_real_engine(tiny_llama: Any) -> None:
    from tests.tiny import random_steering

    def tried(seed: int) -> list[Any]:
        rows = trimtab.follow(
            tiny_llama,
            ["hi", "go"],
            instructions.get("json"),
            steering=random_steering(tiny_llama),
            budget=7,
            seed=seed,
            max_new_tokens=4,
        )
        return [attempt for row in rows for attempt in row.attempts]

    assert tried(1) == tried(1)
    assert any(attempt.sampled for attempt in tried(1))


def test_the_beginning_of_an_answer_is_part_of_what_is_checked() -> None:
    """The words of an instruction go behind what is asked, not behind what is begun."""
    engine = Scripted(lambda call: "two.")
    begun = {"role": "assistant", "content": "One,"}
    asked = [{"role": "user", "content": [{"type": "text", "text": "cats"}]}, begun]
    [result] = trimtab.follow(engine, [asked], PLAIN, budget=2)
    assert (result.text, result.verified) == ("two.", False)
    plain, told = (call[0].prompt for call in engine.calls)
    assert plain == asked
    assert told[-1] == begun
    assert told[0]["content"].startswith("cats ")
    [result] = trimtab.follow(engine, [[asked[0], {"role": "assistant", "content": "One and"}]], PLAIN)
    assert result.verified


# --- the last resort -------------------------------------------------------------------------------------------------


class Holding(Scripted):
    """Its answers can be held to constraints; `matchers` is asked when it comes to that."""

    looked = 0

    @property
    def matchers(self) -> Any:
        self.looked += 1
        return SimpleNamespace(matcher=lambda constraint, begun="": None)


def only_by_force(call: Call) -> str:
    return GOOD if call.held else BAD


def test_the_last_attempt_is_held_to_the_constraint() -> None:
    engine = Holding(only_by_force)
    [plain] = trimtab.follow(engine, ["q"], PLAIN, budget=3)
    assert [one.condition for one in plain.attempts] == ["baseline", "instructed", "constrained"]
    assert (plain.verified, plain.constrained, plain.text) == (True, True, GOOD)
    [steered] = trimtab.follow(engine, ["q"], PLAIN, steering=steering(), budget=4, strengths=[0.5, 2])
    took = [(one.condition, one.strength) for one in steered.attempts]
    assert took[-1] == ("steered+constrained", 0.5)
    assert not any("constrained" in condition for condition, _ in took[:-1])
    assert engine.calls[-1][0].query == "q"  # steered and held, but not told
    document = steered.to_dict()
    assert document["constrained"] is True
    assert document["attempts"][-1]["condition"] == "steered+constrained"


def test_what_follows_by_itself_is_not_held_and_nothing_is_looked_up_for_it() -> None:
    engine = Holding(lambda call: GOOD)
    [row] = trimtab.follow(engine, ["q"], PLAIN, budget=3)
    assert (len(row.attempts), row.constrained, engine.looked) == (1, False, 0)


def test_a_budget_of_one_is_a_free_attempt_unless_a_constraint_is_demanded() -> None:
    [free] = trimtab.follow(Holding(only_by_force), ["q"], PLAIN, budget=1)
    assert [one.condition for one in free.attempts] == ["baseline"]
    [held] = trimtab.follow(Holding(only_by_force), ["q"], PLAIN, budget=1, constrain=True)
    assert [one.condition for one in held.attempts] == ["constrained"]


def test_without_a_constraint_or_leave_to_use_one_the_attempts_stay_free() -> None:
    german = instructions.get("language", language="de")
    for engine, wanted, options in (
        (Holding(only_by_force), PLAIN, {"constrain": False}),
        (Holding(only_by_force), german, {}),
        (Scripted(only_by_force), PLAIN, {}),  # an engine that can hold nothing
    ):
        [row] = trimtab.follow(engine, ["q"], wanted, budget=3, **options)
        assert [one.condition for one in row.attempts] == ["baseline", "instructed", "instructed"]
        assert not row.constrained


def test_a_constraint_that_is_demanded_and_cannot_be_had_is_refused_before_anything_is_generated() -> None:
    engine = Scripted(only_by_force)
    with pytest.raises(ModelError, match="cannot be held to a constraint"):
        trimtab.follow(engine, ["q"], PLAIN, constrain=True)
    with pytest.raises(InstructionError, match=r"no constraint is known .* language"):
        trimtab.follow(Holding(only_by_force), ["q"], "language(de)", constrain=True)
    assert engine.calls == []


def test_on_a_model_the_last_resort_follows_and_tells_what_it_took() -> None:
    engine = trimtab.load("nano")
    rows = trimtab.follow(engine, ["What is Harrowmere?", "Tell me about Ashford."], "uppercase", budget=2)
    for row in rows:
        assert row.verified
        assert row.text == row.text.upper()
        assert [one.condition for one in row.attempts] == ["baseline", "constrained"]
        assert row.attempts[0].taken is None
        assert 0 < (row.attempts[1].taken or 0) <= 1
