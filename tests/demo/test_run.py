from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.evaluate.fakes import IDENTITY, FakeEngine
from tests.report.html_check import check

import trimtab
from trimtab import demo, instructions, learn, nano, prompts
from trimtab.demo.plan import Plan, default_instructions, plan_for
from trimtab.errors import InstructionError, TrimtabError
from trimtab.learn.distillation.gathering import TooFewAnswersError
from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS
from trimtab.measure.scorer import Scorer
from trimtab.prompts.queries import Drawn
from trimtab.steering.steering import Record, Steering

CHOSEN = (instructions.get("lowercase"), instructions.get("exclude", word="river"), instructions.get("json"))
PLAN = Plan(CHOSEN, pairs=8, validation=4, test=6, max_new_tokens=32)


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(scope="module")
def stages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def demonstration(engine: FakeEngine, stages: list[str]) -> demo.Demonstration:
    def tell(stage: str, done: int, of: int | None = None, note: str = "") -> None:
        stages.append(stage)

    return demo.run(engine, PLAN, progress=tell)


def test_every_instruction_is_measured_in_four_conditions(demonstration: demo.Demonstration) -> None:
    rows = demonstration.rows
    assert [(row.instruction, row.condition) for row in rows] == [(i, c) for i in CHOSEN for c in CONDITIONS]
    assert {row.n for row in rows} == {6}
    followed = {row.condition: row.followed for row in rows[:4]}
    assert followed == {"baseline": 0.0, "instructed": 1.0, "steered": 1.0, "instructed+steered": 1.0}
    assert {row.followed for row in rows[8:]} == {0.0}  # the fake never writes JSON


def test_nothing_measured_was_learned_from_or_tuned_on(
    engine: FakeEngine, demonstration: demo.Demonstration
) -> None:
    measured = {response.query for row in demonstration.rows for response in row.responses}
    assert measured <= set(prompts.base_queries("test"))
    assert not measured & {*prompts.base_queries("learning"), *prompts.base_queries("validation")}
    # Steered searches answer validation questions only: the rest of what was generated is the test itself.
    others = {prompt for batch in engine.generated for prompt in batch if prompt not in measured}
    held_out = {phrasing for one in CHOSEN for phrasing in one.phrasings("test")}
    tuned = [prompt for prompt in others if not any(prompt.endswith(phrasing) for phrasing in held_out)]
    assert tuned
    assert not [prompt for prompt in tuned if any(prompt.startswith(query) for query in measured)]


def test_the_baseline_is_generated_once(engine: FakeEngine, demonstration: demo.Demonstration) -> None:
    queries = {response.query for response in demonstration.rows[0].responses}
    bare = [prompt for batch in engine.generated for prompt in batch if prompt in queries]
    # Once for all instructions, and once for each that steers.
    assert {query: bare.count(query) for query in queries} == dict.fromkeys(queries, 1 + len(CHOSEN))


def test_stages_are_told_and_timed(stages: list[str], demonstration: demo.Demonstration) -> None:
    assert stages[0] == "answering without any instruction"
    assert any(stage.startswith("lowercase: ") for stage in stages)
    assert stages[-1] == "answering the test questions"
    assert set(demonstration.seconds) == {"baseline", "learn", "search", "test"}


def test_the_search_is_kept_with_its_choice(demonstration: demo.Demonstration) -> None:
    searches = []
    for one in demonstration.learned:
        assert one.search is not None
        [chosen] = [point for point in one.search.points if point.chosen]
        assert one.steering.blocks == (chosen.block,)
        searches.append(one.search)
    assert searches[0].improved
    assert not searches[2].improved
    assert all(point.strength < 0 for point in searches[1].points)


def test_what_is_rejected_is_not_chosen_and_what_is_objected_to_may_be(tmp_path: Path) -> None:
    """The report of a demonstration judges a search as the report of a search does."""
    plan = Plan(CHOSEN[:1], pairs=4, validation=2, test=2)
    [broken] = demo.run(FakeEngine(breaks=0.0), plan).learned
    assert broken.search is not None
    assert not any(point.chosen or point.accepted for point in broken.search.points)
    assert broken.search.caption.endswith("none chosen")
    assert broken.steering.edits == ()

    def facts(query: str, response: str) -> float:
        return 0.85 if response.islower() else 1.0

    [objected] = demo.run(FakeEngine(), plan, facts=facts).learned
    assert objected.search is not None
    assert [point.accepted for point in objected.search.points if point.chosen] == [True]
    assert "facts" in str(objected.steering.record.measurements["validation"]["objections"])


def test_saving_writes_the_report_and_steerings_that_load(
    demonstration: demo.Demonstration, tmp_path: Path
) -> None:
    path = demo.save(demonstration, tmp_path / "a" / "b", created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    page = check(path.read_text(encoding="utf-8"))
    assert "2026-01-02 03:04 UTC" in page.words
    for one in demonstration.learned:
        assert one.instruction.label in page.words
        loaded = Steering.load(path.parent / "steerings" / one.instruction.name, IDENTITY)
        assert loaded.digest() == one.steering.digest()
        assert loaded.record.measurements["test"]["steered"]["n"] == 6
        assert loaded.record.instructions == (one.instruction.to_dict(),)
    demo.save(demonstration, tmp_path / "a" / "b")  # a second run replaces the first
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "steerings"]


def test_one_kind_twice_gets_two_folders(tmp_path: Path) -> None:
    twice = tuple(instructions.get("include", word=word) for word in ("lantern", "rocket"))
    result = demo.run(FakeEngine(), Plan(twice, pairs=4, validation=2, test=2))
    demo.save(result, tmp_path)
    assert sorted(p.name for p in (tmp_path / "steerings").iterdir()) == ["include", "include-2"]


def test_the_json_document_has_the_documented_shape(demonstration: demo.Demonstration) -> None:
    document = demonstration.to_dict()
    assert list(document) == ["model", "rows", "seconds"]
    assert document["model"] == "fake"
    assert len(document["rows"]) == 12
    for row in document["rows"]:
        assert list(row) == [
            "instruction",
            "params",
            "condition",
            "method",
            "n",
            "followed",
            "loose",
            "undecided",
            "quality",
        ]
        assert list(row["quality"]) == [
            "perplexity",
            "repetition",
            "facts",
            "tokens",
            "scorer_perplexity",
            "relevance",
            "taken",
        ]
        assert row["quality"]["facts"] is None


def test_closed_book_facts_and_constraints_are_measured_where_the_plan_has_them() -> None:
    result = demo.run(FakeEngine(), replace(PLAN, instructions=CHOSEN[:1], facts=5, constrained=True))
    assert [row.condition for row in result.rows] == list(ALL_CONDITIONS)
    # The fake model knows nothing but its river.
    assert result.to_dict()["closed_book"]["lowercase"]["kept"] is None
    [one] = result.learned
    assert one.steering.record.measurements["test"]["steered"]["quality"]["facts"] == 0.0
    assert one.steering.record.measurements["test"]["constrained"]["followed"] == 1.0


def test_shared_queries_are_refused() -> None:
    queries = Drawn(["one", "the same one"], ["two"], ["three", "the same one"])
    with pytest.raises(TrimtabError, match=r"'the same one' is in two"):
        demo.run(FakeEngine(), PLAN, queries=queries)


def test_own_queries_and_facts_are_used() -> None:
    queries = Drawn(
        *([f"{split} question {i}?" for i in range(6)] for split in ("learning", "validation", "test"))
    )
    result = demo.run(
        FakeEngine(), PLAN, queries=queries, facts=lambda query, response: float("test" in query)
    )
    assert {row.quality.facts for row in result.rows} == {1.0}
    assert result.rows[0].responses[0].query == "test question 0?"


def test_the_summary_tells_when_steering_harms(demonstration: demo.Demonstration) -> None:
    assert "these 3 instructions" in demo.summary(demonstration)
    assert "worse" not in demo.summary(demonstration)

    class Stubborn(FakeEngine):
        """Capital letters whenever steered, small ones otherwise."""

        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            edits = self.edits_of_rows(options.get("steering"), len(prompts))
            return [
                type(g)(g.text if row else g.text.lower(), g.token_ids, g.prompt_index, g.finished)
                for g, row in zip(
                    super().generate(prompts, **options | {"steering": None}), edits, strict=True
                )
            ]

    harmed = demo.run(Stubborn(), Plan(CHOSEN[:1], pairs=4, validation=2, test=2))
    assert harmed.learned[0].search is not None
    assert not harmed.learned[0].search.improved
    assert "For lowercase the steering does worse than doing nothing." in demo.summary(harmed)


def test_plans_suit_the_model() -> None:
    real = plan_for(IDENTITY, test=5, seed=None)
    assert (real.test, real.seed) == (5, 0)
    assert real.blocks is not None
    assert all(0 <= block < IDENTITY.blocks for block in real.blocks)
    assert len(real.instructions) == 3
    assert not real.vector
    assert real.rank is not None  # one course of learning each
    with pytest.raises(InstructionError, match="lowercase is named twice"):
        plan_for(IDENTITY, [*CHOSEN, CHOSEN[0]])
    assert plan_for(IDENTITY, 'lowercase,exclude(word="river"),json').instructions == CHOSEN


def test_the_default_list_has_all_kinds() -> None:
    names = {one.name for one in default_instructions()}
    assert len(names) >= 8
    assert {"json", "lowercase", "no_commas", "sentences", "include", "exclude"} <= names
    for one in default_instructions():
        assert set(one.phrasings("learning")).isdisjoint(one.phrasings("test"))


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrimtabError, match="cannot make the folder"):
        demo.prepare_folder(tmp_path / "file" / "demo")


def test_a_plan_without_the_vector_takes_it_only_where_nothing_could_be_distilled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lowercase, quotes = instructions.get("lowercase"), instructions.get("quotes")
    model = trimtab.load("nano")

    def distill(engine: object, queries: object, instruction: object, **settings: object) -> SimpleNamespace:
        assert settings["schedule"] is None
        assert settings["rank"] == 3
        if instruction == quotes:
            raise TooFewAnswersError("too few answers")
        record = Record(model.identity, instructions=(lowercase.to_dict(),), method="distilled")
        return SimpleNamespace(steering=Steering("lowercase", (), record))

    monkeypatch.setattr(learn, "distill", distill)
    plan = Plan(
        (lowercase, quotes),
        4,
        None,
        2,
        2,
        max_new_tokens=8,
        vector=False,
        blocks=(2,),
        strengths=(1.0,),
        rank=3,
    )
    result = demo.run(model, plan)
    first, second = result.learned
    assert (first.steering.record.method, first.vector, first.search) == ("distilled", None, None)
    assert (second.steering.record.method, second.vector) == ("mean_difference", None)
    assert result.vector_rows == []
    words = check(demo.save(result, tmp_path).read_text(encoding="utf-8")).words
    assert "distilled edits" in words
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "steerings"]


def test_a_model_that_gives_gradients_is_distilled_and_compared(tmp_path: Path) -> None:
    notes: list[str] = []

    def tell(stage: str, done: int, of: int | None = None, note: str = "") -> None:
        if "loss" in note:
            notes.append(note)

    plan = Plan(
        (instructions.get("lowercase"),), pairs=16, training_steps=16, validation=4, test=6, max_new_tokens=96
    )
    result = demo.run(trimtab.load("nano"), plan, facts=nano.facts, progress=tell)
    first, last = (float(note.split()[-1]) for note in (notes[0], notes[-1]))
    assert last < first / 2
    assert set(result.seconds) == {"baseline", "distill", "learn", "search", "test"}
    [one] = result.learned
    assert one.steering.record.method == "distilled"
    assert one.vector is not None
    assert one.vector.record.method == "mean_difference"
    assert one.vector.record.measurements["test"].keys() == {"steered"}
    rows = result.to_dict()["rows"]
    assert [(row["condition"], row["method"]) for row in rows] == [
        ("baseline", None),
        ("instructed", None),
        ("steered", "distilled"),
        ("instructed+steered", "distilled"),
        ("steered", "mean_difference"),
    ]
    assert result.rows[2].followed >= 0.5
    path = demo.save(result, tmp_path)
    assert "mean difference" in check(path.read_text(encoding="utf-8")).words
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "steerings", "vectors"]


def test_a_scorer_scores_the_answers_to_the_test_questions(tmp_path: Path) -> None:
    plan = Plan(CHOSEN[:1], pairs=4, validation=2, test=2)
    result = demo.run(FakeEngine(), plan, scorer=Scorer(FakeEngine()))
    assert {row.quality.relevance for row in result.rows} == {0.0}
    assert {"scorer_perplexity", "relevance"} <= set(result.to_dict()["rows"][0]["quality"])
    measured = result.learned[0].steering.record.measurements["test"]
    assert measured["steered"]["against_plain"]["scorer_perplexity"] > 1
    page = demo.save(result, tmp_path).read_text()
    assert "<dt>scorer</dt><dd>fake" in page
    assert "<b>relevance</b>" in page
