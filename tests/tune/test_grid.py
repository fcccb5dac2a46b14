"""The search: it finds the candidate that works, guards quality, wastes no rows, and says when nothing helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import instructions, learn, tune
from trimtab.engines.base import Engine, Generation
from trimtab.errors import InstructionError, ModelError, PromptError, SteeringError
from trimtab.evaluate import respond_baseline
from trimtab.instructions.kinds import InstructionType
from trimtab.instructions.loose import variants
from trimtab.instructions.phrasings import Phrasings
from trimtab.learn import Directions
from trimtab.measure.bounds import Bounds
from trimtab.measure.scorer import Scorer
from trimtab.progress import Progress, shown
from trimtab.prompts.pairs import make_pairs
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering
from trimtab.tune.guard import Guard, repeated_letters
from trimtab.tune.paper import text_perplexity

BLOCKS, WIDTH = 6, 4
MODEL = ModelIdentity("fake", None, "Fake", BLOCKS, WIDTH, "plain")
QUERIES = [f"What about number {i}?" for i in range(8)]
LOWER = instructions.get("lowercase")
ANSWER = "The answer is a Number that anyone could have Found."
PHRASINGS = tuple(LOWER.phrasings("validation"))

Behaviour = Callable[[str, Steering | None], str]


def directions(instruction: Any = LOWER, blocks: Sequence[int] = range(BLOCKS)) -> Directions:
    count = len(blocks)
    unit = torch.zeros(count, WIDTH)
    unit[:, 0] = 1
    return Directions(
        name=instruction.label,
        method="mean_difference",
        instruction=instruction.to_dict(),
        model=MODEL,
        blocks=tuple(blocks),
        directions=unit,
        instructed=torch.full((count,), 3.0),
        plain=torch.full((count,), 1.0),
        difference_norm=torch.full((count,), 2.0),
        prompts="sha256:00",
        pairs=4,
    )


@Engine.register
class FakeEngine:
    """Answers as a function of the prompt and its row's steering; an exclamation mark is a surprise of one nat."""

    identity = MODEL

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.rows: list[Steering | None] = []

    def generate(
        self, prompts: Sequence[str], *, steering: Any = None, progress: Progress = False, **_: Any
    ) -> list[Generation]:
        with shown(progress) as tell:
            tell("writing", len(prompts), len(prompts))
        rows = list(steering) if isinstance(steering, list | tuple) else [steering] * len(prompts)
        if len(rows) != len(prompts):
            raise AssertionError("one steering per row")
        self.rows += rows
        texts = [self.behave(prompt, row) for prompt, row in zip(prompts, rows, strict=True)]
        return [
            Generation(text.removesuffix("..."), tuple(map(ord, text)), i, finished=not text.endswith("..."))
            for i, text in enumerate(texts)
        ]

    def score(self, prompts: Sequence[str], responses: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return [1.0 + response.count(ord("!")) for response in responses]


def at(steering: Steering) -> tuple[str, int, float]:
    values = steering.record.settings
    return values["application"], values["block"], values["strength"]


def works_at(application: str, block: int, strength: float, otherwise: str = ANSWER) -> Behaviour:
    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER.lower() if prompt.endswith(PHRASINGS) else ANSWER
        return ANSWER.lower() if at(steering) == (application, block, strength) else otherwise

    return behave


@pytest.mark.parametrize("wanted", [("add", 2, 4.0), ("set_projection", 0, 0.5), ("set_projection", 3, 1.0)])
def test_the_one_candidate_that_works_is_found(wanted: tuple[str, int, float]) -> None:
    result = tune.search(FakeEngine(works_at(*wanted)), directions(), LOWER, QUERIES)
    best = result.best
    assert (best.application, best.block, best.strength) == wanted == at(result.steering)
    assert (best.followed, best.good, best.score, best.n) == (1.0, 1.0, 1.0, len(QUERIES))
    assert result.improved
    assert (result.baseline.followed, result.instructed.followed) == (0.0, 1.0)


def test_the_steering_records_what_it_measured() -> None:
    result = tune.search(FakeEngine(works_at("add", 1, 2.0)), directions(), LOWER, QUERIES)
    measured = result.steering.record.measurements
    assert measured["improved"] is True
    assert measured["validation"]["n"] == len(QUERIES)
    assert measured["validation"]["followed"] == 1.0
    assert measured["validation"]["baseline_followed"] == 0.0
    assert measured["validation"]["quality"]["perplexity"] == pytest.approx(2.7183)


def test_all_candidates_are_there_for_a_table_and_the_finalists_come_first() -> None:
    result = tune.search(FakeEngine(works_at("add", 1, 2.0)), directions(), LOWER, QUERIES, first=2, keep=3)
    blocks = tune.default_blocks(directions())
    assert len(result.candidates) == 2 * len(blocks) * len(tune.STRENGTHS)
    tried = [item.n for item in result.candidates]
    assert tried[:4] == [8, 8, 8, 4]
    assert tried == sorted(tried, reverse=True)
    assert tried[-1] == 2
    assert len({(item.application, item.block, item.strength) for item in result.candidates}) == len(
        result.candidates
    )
    for candidate in result.candidates:
        assert set(candidate.to_dict()) >= {
            "application",
            "block",
            "strength",
            "followed",
            "score",
            "quality",
        }


def test_narrowing_costs_no_more_rows_than_it_says() -> None:
    engine = FakeEngine(works_at("add", 1, 2.0))
    tune.search(engine, directions(), LOWER, QUERIES, blocks=[1, 2], strengths=[1, 2], first=3, keep=2)
    # 8 candidates on 3 queries, 4 of them on 6, 2 of these on all 8
    assert len(engine.rows) == 2 * len(QUERIES) + 8 * 3 + 4 * 3 + 2 * 2
    shared = respond_baseline(engine, QUERIES)
    engine.rows.clear()
    tune.search(engine, directions(), LOWER, QUERIES, blocks=[1], strengths=[1], baseline=shared)
    assert len(engine.rows) == len(QUERIES) + 2 * len(QUERIES)
    assert engine.rows.count(None) == len(QUERIES)


def test_every_row_is_told_of() -> None:
    engine = FakeEngine(works_at("add", 1, 2.0))
    last: dict[str, tuple[int, int | None]] = {}

    def tell(stage: str, done: int, of: int | None = None, note: str = "") -> None:
        last[stage] = (done, of)

    result = tune.search(engine, directions(), LOWER, QUERIES, progress=tell)
    count = 2 * len(QUERIES)
    assert last == {
        "answering unsteered": (count, count),
        "answering steered": (result.rows, result.rows),
    }
    assert len(engine.rows) == count + result.rows


@pytest.mark.parametrize("rule", [None, tune.PaperRule(lambda texts: [20.0] * len(texts))])
@pytest.mark.parametrize("shared", [False, True], ids=["baseline generated", "baseline given"])
def test_every_answer_is_judged_once(shared: bool, rule: tune.PaperRule | None) -> None:
    """Strict once for each answer; loose in each of its distinct readings, and only where strict said no."""
    checked: list[str] = []

    def check(text: str) -> bool:
        checked.append(text)
        return text.islower()

    kind = InstructionType("counted", lambda: check, {"": Phrasings.divide(["Write small!"] * 3)})
    texts = {"plain": "*Loud*\nand slow\nanswer", "instructed": "small", "steered": "*Soft*\nand\nslow"}
    engine = FakeEngine(
        lambda prompt, steering: texts[
            "steered" if steering else "instructed" if prompt.endswith("Write small!") else "plain"
        ]
    )
    baseline = respond_baseline(engine, QUERIES) if shared else None
    result = tune.search(engine, directions(), kind(), QUERIES, baseline=baseline, rule=rule, weights=True)

    def calls(text: str) -> int:
        readings = [one for one in dict.fromkeys(variants(text)) if one.strip()]
        small = [one.islower() for one in readings]
        tried = len(readings) if not any(small) else small.index(True) + 1
        return 1 if text.islower() else 1 + tried

    count = len(QUERIES)
    assert calls(texts["instructed"]) == 1
    assert len(checked) == (
        count * (calls(texts["plain"]) + calls(texts["instructed"])) + result.rows * calls(texts["steered"])
    )


def test_questions_that_tell_candidates_apart_come_first() -> None:
    """On the first three questions everyone follows anyway; a search that began there would see no difference."""

    def behave(prompt: str, steering: Steering | None) -> str:
        follows = prompt in QUERIES[:3] or (steering is not None and at(steering) == ("add", 3, 4.0))
        return ANSWER.lower() if follows else ANSWER

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES)
    assert (result.best.block, result.best.followed) == (3, 1.0)
    assert [response.query for response in result.baseline.responses] == QUERIES[3:] + QUERIES[:3]
    assert [response.query for response in result.steered.responses] == QUERIES[3:] + QUERIES[:3]


def test_equal_answers_to_a_question_are_scored_once() -> None:
    engine, scored = FakeEngine(works_at("add", 1, 2.0)), []
    score = engine.score

    def counting(prompts: Sequence[str], responses: Any, **options: Any) -> list[float]:
        scored.extend(zip(prompts, responses, strict=True))
        return score(prompts, responses, **options)

    engine.score = counting  # type: ignore[method-assign]
    tune.search(engine, directions(), LOWER, QUERIES)
    assert len(scored) == len(set(scored)) == 2 * len(QUERIES), "a plain and a lowercase answer to each"


def test_fewer_queries_than_the_first_stage_wants() -> None:
    result = tune.search(FakeEngine(works_at("add", 1, 2.0)), directions(), LOWER, QUERIES[:2], first=5)
    assert result.best.n == 2
    assert result.improved


def test_luck_on_the_first_queries_is_found_out() -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER
        application, block, _ = at(steering)
        lucky = application == "add" and block == 1 and prompt in QUERIES[:2]
        steady = application == "add" and block == 2 and prompt != QUERIES[0]
        return ANSWER.lower() if lucky or steady else ANSWER

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, strengths=[1], first=2)
    assert (result.best.block, result.best.followed) == (2, 7 / 8)


BROKEN = {
    "empty": ("", "empty"),
    "one letter": ("x", "next to empty"),
    "repeating": (f"{ANSWER.lower()} " * 20, "repeating itself"),
    "looping without spaces": ("theinthein" * 12, "repeating itself"),
    "running away": (" ".join(f"number {i} is not {i * i}" for i in range(40)), "far too long"),
    "endless": (ANSWER.lower() + "...", "without an end"),
    "strange": (ANSWER.lower() + "!!!!!!!", "perplexity"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_candidate_loses_against_a_weaker_sound_one(case: str) -> None:
    text, objection = BROKEN[case]

    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER.lower() if prompt.endswith(PHRASINGS) else ANSWER
        if at(steering)[2] == 4.0:
            return text
        return ANSWER.lower() if prompt in QUERIES[:5] else ANSWER

    result = tune.search(
        FakeEngine(behave), directions(), LOWER, QUERIES, blocks=[2], strengths=[4, 1], methods=["add"]
    )
    assert result.best.strength == 1.0
    broken = next(item for item in result.candidates if item.strength == 4.0)
    assert any(objection in words for words in broken.objections)
    assert broken.rejected
    assert not result.best.rejected


@pytest.mark.parametrize("case", BROKEN)
def test_a_degenerate_candidate_never_wins_even_alone(case: str) -> None:
    text, _ = BROKEN[case]

    def behave(prompt: str, steering: Steering | None) -> str:
        return ANSWER if steering is None else text

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES)
    assert result.steering.edits == ()
    assert not result.improved
    assert result.steering.record.measurements["improved"] is False
    assert result.steering.record.measurements["validation"]["followed"] == 0.0
    assert result.best.rejected, "the best of them is still shown"


def surprise(first: float, rest: float = 1.0) -> tuple[str, str]:
    """A plain answer with so many nats of surprise above one, and a steered one."""
    return ANSWER + "!" * round(first - 1), ANSWER.lower() + "!" * round(rest - 1)


def test_what_is_too_easy_to_predict_is_rejected() -> None:
    plain, steered = surprise(9, 1)

    def behave(prompt: str, steering: Steering | None) -> str:
        return steered if steering is not None and at(steering)[1] == 1 else plain

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, blocks=[1, 2])
    easy = next(item for item in result.candidates if item.block == 1)
    assert (easy.followed, easy.rejected) == (1.0, True)
    assert any("perplexity 2.72 outside" in words for words in easy.objections)
    assert (result.steering.edits, result.improved) == ((), False)


def test_a_candidate_that_lies_is_rejected() -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        return ANSWER if steering is None else ANSWER.lower()

    def facts(query: str, response: str) -> float:
        return float(response == ANSWER)

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, facts=facts)
    assert all(item.rejected and item.followed == 1.0 for item in result.candidates)
    assert result.steering.edits == ()


def test_what_was_dropped_gets_its_turn_when_all_finalists_are_broken() -> None:
    """Blocks 0 to 3 follow on the first queries and then break; block 4 follows less often, but soundly."""

    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER
        early = prompt in QUERIES[:4]
        if at(steering)[1] == 4:
            return ANSWER if prompt == QUERIES[0] else ANSWER.lower()
        return ANSWER.lower() if early else ""

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, strengths=[1], first=4, keep=4)
    assert (result.best.block, result.best.followed, result.best.n) == (4, 7 / 8, 8)
    assert result.improved
    assert sum(item.rejected for item in result.candidates) == 4 * 2


def test_a_model_that_never_ends_is_not_asked_to() -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        return (ANSWER.lower() if steering and at(steering)[1] == 2 else ANSWER) + "..."

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES)
    assert result.best.block == 2
    assert result.best.objections == ()


def test_instructed_responses_set_the_measure_of_what_following_may_cost() -> None:
    """JSON is a surprise as an answer to a bare query, whoever writes it: here 3 nats as steered and as instructed."""

    def behave(prompt: str, steering: Steering | None) -> str:
        follows = prompt.endswith(PHRASINGS) if steering is None else at(steering)[1] == 2
        return ANSWER.lower() + "!!" if follows else ANSWER

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES)
    assert result.best.block == 2
    assert result.best.score == 1.0


def test_facts_that_are_lost_cost_score() -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER
        return "a lie" if at(steering)[1] == 1 else "the truth" if at(steering)[1] == 2 else ANSWER

    def facts(query: str, response: str) -> float | None:
        return None if query == QUERIES[0] else float(response != "a lie")

    guard = Guard(bounds=Bounds(length=10))
    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, facts=facts, guard=guard)
    assert result.best.block == 2
    liar = next(item for item in result.candidates if item.block == 1)
    assert liar.score == pytest.approx(liar.good - (1 - Guard().facts))
    assert any("facts 0.00 against 1.00" in words for words in liar.objections)


def test_an_answer_that_says_nothing_has_no_facts() -> None:
    """`{}` follows an instruction to write JSON, and claims nothing that could be false."""

    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER
        if at(steering)[1] == 1:
            return "nothing really"
        return "the truth" if at(steering)[1] == 2 and prompt != QUERIES[0] else ANSWER

    def facts(query: str, response: str) -> float | None:
        return None if response == "nothing really" else 1.0

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, facts=facts)
    assert result.best.block == 2
    silent = next(item for item in result.candidates if item.block == 1)
    assert any("facts 0.00 against 1.00" in words for words in silent.objections)
    assert silent.quality.facts is None, "what is reported stays what was measured"


def test_where_following_means_to_claim_nothing_that_costs_nothing() -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        follows = prompt.endswith(PHRASINGS) if steering is None else at(steering)[1] == 2
        return "my answer is yes." if follows else ANSWER

    def facts(query: str, response: str) -> float | None:
        return None if response == "my answer is yes." else 1.0

    result = tune.search(
        FakeEngine(behave), directions(), LOWER, QUERIES, facts=facts, guard=Guard(bounds=Bounds(length=10))
    )
    assert (result.best.block, result.best.score) == (2, 1.0)


def test_when_nothing_helps_the_result_says_so() -> None:
    result = tune.search(FakeEngine(works_at("add", 99, 1.0)), directions(), LOWER, QUERIES)
    assert not result.improved
    assert result.steering.record.measurements["improved"] is False
    assert len(result.steering.edits) == 1
    assert result.best.strength == 0.5, "the gentlest, where all are useless"


def test_an_instruction_that_everyone_follows_anyway_cannot_be_improved() -> None:
    result = tune.search(FakeEngine(lambda prompt, steering: ANSWER.lower()), directions(), LOWER, QUERIES)
    assert result.baseline.followed == 1.0
    assert not result.improved


def test_an_exclusion_is_steered_backwards_with_what_its_inclusion_taught() -> None:
    include, exclude = instructions.get("include", word="rocket"), instructions.get("exclude", word="rocket")

    def behave(prompt: str, steering: Steering | None) -> str:
        return "A plane." if steering is not None and at(steering)[2] == -2.0 else "A rocket."

    result = tune.search(FakeEngine(behave), directions(include), exclude, QUERIES)
    assert result.best.strength == -2.0
    assert {item.strength for item in result.candidates} == {-strength for strength in tune.STRENGTHS}
    assert result.steering.name == exclude.label
    assert result.steering.record.instructions == (exclude.to_dict(),)
    assert result.steering.record.settings["learned_from"] == include.to_dict()


def test_an_exclusion_with_directions_of_its_own_is_steered_forwards() -> None:
    exclude = instructions.get("exclude", word="rocket")
    result = tune.search(FakeEngine(lambda prompt, steering: "x"), directions(exclude), exclude, QUERIES)
    assert min(item.strength for item in result.candidates) > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"queries": []}, PromptError, "no validation queries"),
        ({"strengths": []}, SteeringError, "nothing to try"),
        ({"blocks": []}, SteeringError, "nothing to try"),
        ({"methods": []}, SteeringError, "nothing to try"),
        ({"blocks": [77]}, SteeringError, "no direction for block 77"),
        ({"methods": ["ablate"]}, SteeringError, "each of methods is one of add, set_projection"),
        ({"strengths": [float("inf")]}, SteeringError, "finite"),
        ({"first": 0}, SteeringError, "first must be a whole number from 1 on, not 0"),
        ({"keep": 0}, SteeringError, "keep must be a whole number from 1 on, not 0"),
        ({"baseline": []}, PromptError, "answer other queries"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    queries = options.pop("queries", QUERIES)
    with pytest.raises(error, match=message):
        tune.search(FakeEngine(works_at("add", 1, 1.0)), directions(), LOWER, queries, **options)


def test_an_instruction_without_a_check_is_refused_before_anything_is_answered() -> None:
    kind = InstructionType("polite", lambda: None, {"": Phrasings.divide(["Be polite."] * 3)})
    engine = FakeEngine(works_at("add", 1, 1.0))
    with pytest.raises(InstructionError, match="polite has no check"):
        tune.search(engine, directions(), kind(), QUERIES)
    assert engine.rows == []


def test_an_instruction_may_be_named_by_its_spelling() -> None:
    result = tune.search(FakeEngine(works_at("add", 1, 2.0)), directions(), "lowercase", QUERIES)
    assert result.steering.record.instructions == (LOWER.to_dict(),)


def test_a_pair_of_transformers_stands_for_an_engine(tiny_llama: Any) -> None:
    pair = (tiny_llama.model, tiny_llama.tokenizer)
    queries, options = ["What is tea?", "Name a river."], {"max_new_tokens": 4, "strengths": [1]}
    learned = tune.learn_directions(pair, "no_commas", queries)
    result = tune.search(pair, learned, "no_commas", queries, **options)
    again = tune.refit_strength(pair, result.steering, "no_commas", queries, **options)
    assert again.best.strength == 1.0


@settings(max_examples=40, deadline=None)
@given(
    blocks=st.sets(st.integers(0, 40), min_size=1).map(sorted),
    most=st.integers(1, 9),
)
def test_default_blocks_are_few_known_and_spread(blocks: list[int], most: int) -> None:
    model = ModelIdentity("fake", None, "Fake", 41, WIDTH, "plain")
    unit = torch.ones(len(blocks), WIDTH)
    numbers = torch.zeros(len(blocks))
    made = Directions("x", "m", {}, model, tuple(blocks), unit, numbers, numbers, numbers, "", 1)
    chosen = tune.default_blocks(made, most)
    assert 1 <= len(chosen) <= most
    assert set(chosen) <= set(blocks)
    assert chosen == sorted(set(chosen))
    inner = [block for block in blocks if 0 < block < 40]
    assert len(chosen) == min(most, len(inner) or len(blocks))
    if inner:
        assert 0 not in chosen
        assert 40 not in chosen
    if most > 1 and len(inner) >= 2:
        assert (chosen[0], chosen[-1]) == (inner[0], inner[-1])


def test_small_models_are_tried_at_every_block_but_the_last() -> None:
    assert tune.default_blocks(directions()) == [0, 1, 2, 3, 4]


@given(st.text(max_size=60))
def test_repeated_letters_are_a_share_that_a_loop_drives_up(text: str) -> None:
    assert 0 <= repeated_letters(text) < 1
    looped = repeated_letters((text or "ab") * 30)
    assert looped > 0.4 or len(text) < 2
    assert repeated_letters("abcdefghijklmnopqrstuvwxyz") == 0


PLACE = ("set_projection", 2, 1.0)


def perplexities(low: Sequence[str] = ()) -> tune.PaperRule:
    """The paper's rule with a perplexity that is low for some texts."""
    return tune.PaperRule(lambda texts: [1.5 if text in low else 20.0 for text in texts])


def test_the_papers_rule_tries_what_the_paper_tries() -> None:
    engine = FakeEngine(works_at("set_projection", 3, 1.0))
    result = tune.search(engine, directions(), LOWER, QUERIES, rule=perplexities())
    assert {(item.application, item.block, item.strength) for item in result.candidates} == {
        ("set_projection", block, 1.0) for block in (1, 3, 5)
    }
    assert {item.n for item in result.candidates} == {len(QUERIES)}
    assert (result.best.block, result.best.score, result.improved) == (3, 1.0, True)
    assert tune.PaperRule().blocks(32) == list(range(6, 32, 2))
    assert tune.PaperRule(every=3).blocks(42) == list(range(8, 42, 3))


def test_the_papers_rule_rejects_a_block_for_one_output_of_low_perplexity() -> None:
    loop = "hinhinhin" * 9

    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER
        if at(steering)[1] == 1:
            return loop if prompt == QUERIES[-1] else ANSWER.lower()
        return ANSWER.lower() if at(steering)[1] == 3 and prompt in QUERIES[:2] else ANSWER

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, rule=perplexities([loop]))
    assert (result.best.block, result.best.followed) == (3, 0.25)
    looping = result.candidates[-1]
    assert (looping.block, looping.rejected) == (1, True)
    assert looping.objections == ("1 below perplexity 2.5",)


def test_the_papers_rule_prefers_no_steering_where_nothing_is_better() -> None:
    result = tune.search(
        FakeEngine(works_at("add", 99, 1)), directions(), LOWER, QUERIES, rule=perplexities()
    )
    assert (result.improved, result.best.block) == (False, 1)


@pytest.mark.parametrize("options", [{"threshold": 0.5}, {"threshold": float("nan")}, {"every": 0}])
def test_a_rule_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SteeringError, match=r"must be a (whole )?number from 1 on"):
        tune.PaperRule(**options)


def test_without_a_model_of_its_own_the_rule_asks_the_engine_for_one() -> None:
    with pytest.raises(ModelError, match="FakeEngine gives no access to its model"):
        tune.search(FakeEngine(works_at(*PLACE)), directions(), LOWER, QUERIES, rule=tune.PaperRule())


def test_text_perplexity_is_that_of_each_text_alone(tiny_llama: Any) -> None:
    texts = ["the sea and the moon", "", "x", "the sea", "the sea and the moon"]
    together = text_perplexity(tiny_llama, batch_size=2)(texts)
    alone = [text_perplexity(tiny_llama)([text])[0] for text in texts]
    assert together[1:3] == alone[1:3] == [None, None]
    assert together[0] == together[4] != together[3]
    assert [together[0], together[3]] == pytest.approx([alone[0], alone[3]], rel=1e-4)
    ids = torch.tensor([tiny_llama.tokenizer("the sea", add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        loss = tiny_llama.model(input_ids=ids, labels=ids).loss
    assert together[3] == pytest.approx(float(loss.exp()), rel=1e-4)
    for above, found in ((0.1, [True, False]), (-0.1, [False, False])):
        rule = tune.PaperRule(text_perplexity(tiny_llama), float(loss.exp()) + above)
        assert rule.degenerate(["the sea", "x"]) == found


def test_the_three_weights_stand_side_by_side() -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER
        wins = {("add", 3, 4.0): 8, ("set_projection", 2, 1.0): 6, ("add", 1, 1.0): 4}
        return ANSWER.lower() if prompt in QUERIES[: wins.get(at(steering), 0)] else ANSWER

    engine = FakeEngine(behave)
    result = tune.search(engine, directions(), LOWER, QUERIES, weights=True)
    assert result.weights is not None
    computed, manual, searched = result.weights.computed, result.weights.manual, result.weights.searched
    assert searched == result.best
    assert (searched.block, searched.strength, searched.weight, searched.followed) == (3, 4.0, 8.0, 1.0)
    assert (computed.application, computed.block, computed.weight) == ("set_projection", 2, 3.0)
    assert (manual.application, manual.block, manual.weight) == ("add", 1, 2.0)
    assert {one.n for one in (computed, manual, searched)} == {len(QUERIES)}
    assert set(result.weights.to_dict()) == {"computed", "manual", "searched"}
    assert len(engine.rows) == len({(id(row), i) for i, row in enumerate(engine.rows)})


def test_a_manual_weight_is_in_units_of_the_residual_stream() -> None:
    result = tune.search(
        FakeEngine(works_at("add", 1, 2.5)), directions(), LOWER, QUERIES, weights=True, manual_weight=5.0
    )
    assert result.weights is not None
    manual = result.weights.manual
    assert (manual.weight, manual.strength, manual.block, manual.followed) == (5.0, 2.5, 1, 1.0)
    with pytest.raises(SteeringError, match="finite number"):
        tune.search(
            FakeEngine(works_at(*PLACE)),
            directions(),
            LOWER,
            QUERIES,
            weights=True,
            manual_weight=float("inf"),
        )


def test_the_manual_weight_of_an_exclusion_goes_backwards() -> None:
    include, exclude = instructions.get("include", word="rocket"), instructions.get("exclude", word="rocket")
    engine = FakeEngine(lambda prompt, steering: "A rocket flies." if steering is None else "A bird flies.")
    result = tune.search(
        engine, directions(include), exclude, QUERIES, blocks=[1], weights=True, manual_weight=5.0
    )
    assert result.weights is not None
    assert (result.weights.manual.weight, result.weights.manual.strength) == (-5.0, -2.5)


def test_a_block_that_was_not_learned_is_named_with_weights_too() -> None:
    with pytest.raises(SteeringError, match="no direction for block 1"):
        tune.search(
            FakeEngine(works_at("add", 2, 1.0)),
            directions(blocks=[2, 3]),
            LOWER,
            QUERIES,
            blocks=[1],
            weights=True,
        )


def finished_steering() -> Steering:
    return directions().add(1, 1.0) + directions().add(2, 1.0)


def scale(steering: Steering) -> float:
    return float(steering.record.settings.get("scale", 1.0))


@pytest.mark.parametrize("wanted", tune.FACTORS)
def test_the_strength_of_a_finished_steering_is_found(wanted: float) -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        return ANSWER.lower() if steering is not None and scale(steering) == wanted else ANSWER

    made = finished_steering()
    result = tune.refit_strength(FakeEngine(behave), made, LOWER, QUERIES)
    assert (result.best.strength, result.improved, result.best.n) == (wanted, True, len(QUERIES))
    assert result.steering.digest() == (made * wanted).digest()
    assert result.steering.record.measurements["validation"]["followed"] == 1.0
    assert sorted(one.strength for one in result.candidates) == sorted(tune.FACTORS)


def test_among_equal_strengths_the_nearest_to_the_steering_as_it_is_wins() -> None:
    behave: Behaviour = lambda prompt, steering: ANSWER if steering is None else ANSWER.lower()  # noqa: E731
    assert tune.refit_strength(FakeEngine(behave), finished_steering(), LOWER, QUERIES).best.strength == 1.0


def test_a_strength_that_breaks_the_text_never_wins() -> None:
    behave: Behaviour = lambda prompt, steering: ANSWER if steering is None else "the" * 50  # noqa: E731
    result = tune.refit_strength(FakeEngine(behave), finished_steering(), LOWER, QUERIES)
    assert result.steering.edits == ()
    assert not result.improved


def test_strengths_that_cannot_be_tried_are_refused() -> None:
    engine, made = FakeEngine(works_at(*PLACE)), finished_steering()
    with pytest.raises(SteeringError, match="nothing to try"):
        tune.refit_strength(engine, made, LOWER, QUERIES, strengths=[])
    with pytest.raises(SteeringError, match="nothing to try"):
        tune.refit_strength(engine, made * 0, LOWER, QUERIES)
    with pytest.raises(SteeringError, match="finite"):
        tune.refit_strength(engine, made, LOWER, QUERIES, strengths=[float("nan")])
    engine.identity = ModelIdentity("another", None, "Fake", BLOCKS + 1, WIDTH, "plain")
    with pytest.raises(SteeringError, match="another"):
        tune.refit_strength(engine, made, LOWER, QUERIES)


def test_on_a_real_model(tiny_llama: Any) -> None:
    instruction = instructions.get("no_commas")
    queries = ["What is tea?", "Name a river.", "Why is rain wet?"]
    learned = learn.mean_difference(tiny_llama, make_pairs(queries, instruction, "learning"), instruction)
    options: dict[str, Any] = {"strengths": [1, 4], "first": 2, "keep": 2, "max_new_tokens": 8}
    result = tune.search(tiny_llama, learned, instruction, queries, **options)
    assert result.steering.record.model == tiny_llama.identity
    assert len(result.candidates) == 2 * 2 * 2
    assert result.best.quality.perplexity is None or result.best.quality.perplexity >= 1
    again = tune.search(tiny_llama, learned, instruction, queries, **options)
    assert again.steering.digest() == result.steering.digest()
    assert again.candidates == result.candidates


def test_of_two_that_follow_the_one_within_the_bounds_wins() -> None:
    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER.lower() if prompt.endswith(PHRASINGS) else ANSWER
        short = ANSWER.lower()[:24].strip()
        return short if at(steering)[1] == 1 else ANSWER.lower() if at(steering)[1] == 2 else ANSWER

    result = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, blocks=[1, 2], strengths=[1])
    assert result.best.block == 2
    assert result.best.out_of_bounds == ()
    curt = next(item for item in result.candidates if item.block == 1)
    assert (curt.followed, curt.rejected) == (1.0, False)
    assert [one.split(" 2")[0] for one in curt.out_of_bounds] == ["length in tokens"]
    assert curt.out_of_bounds[0] in curt.objections
    assert 0 < result.best.score - curt.score < 0.25
    assert result.steering.record.out_of_bounds == {}
    alone = tune.search(FakeEngine(behave), directions(), LOWER, QUERIES, blocks=[1], strengths=[1])
    assert alone.improved
    assert alone.steering.record.out_of_bounds == {"validation": list(curt.out_of_bounds)}
    assert alone.best.to_dict()["out_of_bounds"] == list(curt.out_of_bounds)


def test_answers_that_have_nothing_to_do_with_the_question_are_seen_by_a_scorer() -> None:
    other = "the weather was so nice that everybody had gone out."

    def behave(prompt: str, steering: Steering | None) -> str:
        if steering is None:
            return ANSWER.lower() if prompt.endswith(PHRASINGS) else ANSWER
        return other if at(steering)[1] == 1 else ANSWER.lower() if at(steering)[1] == 2 else ANSWER

    class Reader(FakeEngine):
        """Only an answer about numbers is likelier for a question about them."""

        def score(self, prompts: Sequence[str], responses: Sequence[Any], **_: Any) -> list[float]:
            return [
                2.0 - ("number" in prompt and "number" in response.lower())
                for prompt, response in zip(prompts, responses, strict=True)
            ]

    few: dict[str, Any] = {"blocks": [1, 2], "strengths": [1]}
    engine = FakeEngine(behave)
    unseen = tune.search(engine, directions(), LOWER, QUERIES, **few)
    assert all(one.out_of_bounds == () for one in unseen.candidates)
    baseline = respond_baseline(engine, QUERIES)  # which no scorer has seen
    scorer = Scorer(Reader(behave))
    result = tune.search(engine, directions(), LOWER, QUERIES, scorer=scorer, baseline=baseline, **few)
    assert (result.best.block, result.best.quality.relevance) == (2, 1.0)
    off = next(item for item in result.candidates if item.block == 1)
    assert off.quality.relevance == 0.0
    assert "relevance 0 below 0.9" in off.out_of_bounds
