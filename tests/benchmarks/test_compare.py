"""The comparison: one rule of choice for all, cells that are found again, other libraries used as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.compare import cells, libraries, table
from benchmarks.compare.__main__ import main
from benchmarks.compare.adapters import lora, mean_difference, paper, prompting, psr, repeng
from benchmarks.compare.costs import costs_of
from benchmarks.compare.methods import UNSTEERED, all_methods, installed, parse_methods
from benchmarks.compare.native import NativeEngine
from benchmarks.compare.selection import choose
from benchmarks.compare.shared import distilled
from benchmarks.compare.task import Candidate, Method, Settings, Task, depths
from tests.tiny import hooks_of, tokens_of

from trimtab import instructions, nano
from trimtab.errors import TrimtabError
from trimtab.learn.distillation import training
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

SMALL = Settings(pairs=6, validation=2, test=2, max_new_tokens=16, first=1, keep=2)


@pytest.fixture
def task(engines: Callable[[str], Any]) -> Task:
    return Task(engines("nano"), instructions.get("lowercase"), SMALL, nano.facts)


def nothing(task: Task, **settings: Any) -> Candidate:
    return Candidate(settings, Steering("nothing", (), Record(task.engine.identity)))


def pushed(task: Task, size: float, **settings: Any) -> Candidate:
    """A push that ends in nonsense."""
    edit = Edit.add(2, torch.full((task.engine.identity.width,), size))
    return Candidate(settings, Steering("pushed", (edit,), Record(task.engine.identity)))


# --- the methods -----------------------------------------------------------------------------------------------------


def test_every_method_of_the_issue_is_there_in_order() -> None:
    assert list(all_methods()) == [
        "wording",
        "system",
        "examples",
        "paper",
        "mean-difference",
        "repeng",
        "steering-vectors",
        "psr",
        "psr-lessons",
        "lora",
        "lora-baked",
        "constrained",
        "vector",
        "loreft",
        "trimtab",
        "trimtab-told",
        "trimtab-constrained",
        "trimtab+instruction",
        "trimtab+constraint",
    ]
    assert not set(all_methods()) & set(UNSTEERED)


def test_methods_are_named_once_each_and_must_exist() -> None:
    assert [method.key for method in parse_methods("trimtab, paper,trimtab")] == ["trimtab", "paper"]
    with pytest.raises(TrimtabError, match=r"no method 'papper'; the methods are wording, "):
        parse_methods("papper")


def test_a_method_whose_package_is_missing_is_left_out_and_named() -> None:
    lacking = Method("x", "the X", lambda task: [], "nobody", ("no-such-package-anywhere",))
    here = Method("y", "the Y", lambda task: [], "nobody", ("torch",))
    assert installed([lacking, here]) == ([here], {"the X": ["no-such-package-anywhere"]})


def test_the_paper_sets_the_projection_from_a_fifth_of_the_depth_on(task: Task) -> None:
    found = paper.candidates(task)
    assert sorted(one.settings["block"] for one in found) == [1, 2, 3, 4]
    directions = task.directions()
    for one in found:
        [edit] = one.steering.edits
        row = directions.blocks.index(edit.block)
        assert edit.p is not None
        assert torch.equal(edit.p, -edit.u)
        assert edit.alpha == pytest.approx(float(directions.instructed[row]))


def test_an_exclusion_is_learned_from_its_inclusion_and_turned_round(engines: Callable[[str], Any]) -> None:
    task = Task(engines("nano"), instructions.get("exclude", word="wood"), SMALL)
    assert task.sign == -1
    assert all("wood" in pair.instructed for pair in task.pairs)
    added = next(
        one
        for one in mean_difference.candidates(task)
        if one.settings == {"application": "add", "block": 2, "strength": 2.0}
    )
    assert added.steering.record.instructions == (task.instruction.to_dict(),)
    assert added.steering.edits[0].alpha < 0


# --- the choice ------------------------------------------------------------------------------------------------------


def test_a_sound_candidate_is_chosen_before_a_broken_one_and_the_earlier_among_equals(task: Task) -> None:
    candidates = [
        pushed(task, 50.0, name="broken"),
        nothing(task, name="first"),
        nothing(task, name="second"),
    ]
    choice = choose(task, candidates)
    assert choice.candidate.settings == {"name": "first"}
    assert choice.tried == 3
    assert not choice.improved
    assert choice.same is None


def test_what_follows_is_chosen_and_counts_as_better_than_nothing(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a perfect method would do: with its steering, the engine answers as if it had been told.
    wanted = nothing(task)
    generate = task.engine.generate
    saying = task.instruction.phrasings("validation")[0]

    def telling(prompts: Sequence[str], *, steering: Any = None, **options: Any) -> Any:
        rows = steering if isinstance(steering, list) else [steering] * len(prompts)
        said = [
            f"{prompt} {saying}" if row is wanted.steering else prompt
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        return generate(said, **options)

    monkeypatch.setattr(task.engine, "generate", telling)
    choice = choose(task, [nothing(task), pushed(task, 50.0), wanted])
    assert choice.candidate is wanted
    assert choice.improved


def test_nothing_to_choose_from_is_an_error(task: Task) -> None:
    with pytest.raises(ValueError, match="no candidates"):
        choose(task, [])


def test_the_answers_of_a_library_are_compared_with_those_of_its_vectors_as_edits(task: Task) -> None:
    edit = Edit.add(3, torch.randn(task.engine.identity.width, generator=torch.manual_seed(0)) * 20)
    steering = Steering("random", (edit,), Record(task.engine.identity))

    def applied(strength: float) -> Any:
        return task.engine.steered(steering * strength)

    assert choose(task, [Candidate({}, steering, partial(applied, 1.0))]).same == 1.0
    assert choose(task, [Candidate({}, steering, partial(applied, -3.0))]).same < 1.0  # type: ignore[operator]


# --- another library's own code --------------------------------------------------------------------------------------


def test_only_generation_goes_through_another_librarys_code(task: Task) -> None:
    entered: list[str] = []

    @contextmanager
    def native() -> Iterator[None]:
        entered.append("in")
        try:
            yield
        finally:
            entered.append("out")

    engine = NativeEngine(task.engine, native)
    engine.score(["where is it?"], ["here"])
    engine.capture(["where is it?"])
    assert entered == []
    assert len(engine.generate(["where is it?"], max_new_tokens=3)) == 1
    assert "".join(engine.stream("where is it?", max_new_tokens=3))
    assert entered == ["in", "out"] * 2


@pytest.mark.parametrize("name", ["repeng", "steering_vectors"])
def test_a_librarys_own_code_writes_what_its_vectors_write_as_edits(name: str, task: Task) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("gguf")
    if installed([all_methods()[name.replace("_", "-")]])[1]:
        pytest.skip(f"{name} is not installed; `make bench` installs it")
    model = task.engine.model
    before = [type(block) for block in model.model.layers]
    method = all_methods()[name.replace("_", "-")]
    candidates = method.candidates(task)
    hooks = hooks_of(model)  # transformers keeps some of its own once hidden states were asked for
    labels = [json.dumps(one.settings) for one in candidates]
    assert len(set(labels)) == len(labels)
    queries = task.queries("test")
    plain = tokens_of(task.engine.generate(queries, max_new_tokens=16))
    changed = 0
    for one in candidates[:: len(candidates) // 8]:
        assert one.native is not None
        theirs = tokens_of(NativeEngine(task.engine, one.native).generate(queries, max_new_tokens=16))
        ours = tokens_of(task.engine.generate(queries, steering=one.steering, max_new_tokens=16))
        assert theirs == ours, one.settings
        changed += theirs != plain
    assert changed
    assert [type(block) for block in model.model.layers] == before
    assert hooks_of(model) == hooks


def test_numpy_is_left_as_it_was() -> None:
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("sklearn")
    pytest.importorskip("gguf")
    if installed([all_methods()["repeng"]])[1]:
        pytest.skip("repeng is not installed; `make bench` installs it")
    from benchmarks.compare.adapters.repeng import library

    had = hasattr(numpy, "float_")
    assert library().ControlVector
    assert hasattr(numpy, "float_") == had


# --- rivals that are not directions -----------------------------------------------------------------------------------


def test_ten_wordings_are_candidates_and_each_says_another(task: Task) -> None:
    found = prompting.wordings(task)
    assert len(found) == prompting.WORDINGS
    query = task.queries("test")[0]
    said = {one.given(query) for one in found}
    assert len(said) == len(found)
    assert all(str(one).startswith(f"{query} ") for one in said)


def test_the_strongest_wording_is_the_one_that_follows(task: Task) -> None:
    silent = Candidate({"wording": "none"})
    choice = choose(task, [silent, *prompting.wordings(task)])
    assert choice.candidate.prompt is not None
    assert choice.improved


def test_the_system_prompt_is_the_wording_of_the_instructed_row(task: Task) -> None:
    [one] = prompting.system(task)
    query = task.queries("test")[0]
    system, user = one.given(query)
    assert (system["role"], user) == ("system", {"role": "user", "content": query})
    assert f"{query} {system['content']}" == task.told(query)


def test_examples_are_turns_that_follow_with_the_question_behind_them(task: Task) -> None:
    task.settings = replace(SMALL, max_new_tokens=48)
    told, untold = prompting.examples(task)
    query = task.queries("test")[0]
    chat = told.given(query)
    assert [one["role"] for one in chat] == ["user", "assistant"] * 3 + ["user"]
    assert all(task.instruction.check(one["content"]) for one in chat if one["role"] == "assistant")
    assert chat[-1]["content"] == task.told(query)
    assert untold.given(query)[-1]["content"] == query
    costs = costs_of(task, untold)
    assert costs.prompt_tokens > 20
    assert costs.bytes > 50
    assert costs.parameters == 0


def test_what_is_held_to_a_constraint_follows_and_its_grammar_is_what_is_kept(task: Task) -> None:
    pytest.importorskip("llguidance")
    [one] = all_methods()["constrained"].candidates(task)
    asked = [(query, query) for query in task.queries("test")]
    assert all(task.instruction.check(answer.text) for answer in task.ask(one, asked))
    assert costs_of(task, one).bytes == len(task.constraint(asked[0][0]).grammar.encode())


def test_an_instruction_without_a_constraint_is_refused_by_name(
    engines: Callable[[str], Any], tmp_path: Path
) -> None:
    task = Task(engines("nano"), instructions.get("language", language="es"), SMALL)
    cell = cells.method_cell(cells.Store(tmp_path), task, all_methods()["constrained"])
    assert cell.rows == {}
    assert cell.refused == 'language(language="es") has no constraint'


def test_lessons_and_steerings_are_made_once_and_charged_to_all_who_use_them(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task.settings = replace(SMALL, pairs=12, steps=2, max_new_tokens=48)
    task.folder = tmp_path
    first = distilled(task)
    assert task.spent == 0
    monkeypatch.setattr("trimtab.learn.distill", None)  # it would fail if it were called again
    assert distilled(task).digest() == first.digest()
    assert task.spent > 0


def test_psr_gives_rectified_edits_in_every_block_and_strengths(task: Task) -> None:
    task.settings = replace(SMALL, pairs=12, steps=2, max_new_tokens=48)
    found = psr.candidates(task)
    assert [one.settings["strength"] for one in found] == [1.0, 0.5, 0.75, 1.25, 1.5]
    assert found[0].steering is not None
    assert [edit.block for edit in found[0].steering.edits] == list(range(task.engine.identity.blocks))
    assert all(edit.rectified for edit in found[0].steering.edits)


def test_a_lora_learns_acts_only_inside_and_leaves_the_model_as_it_was(task: Task) -> None:
    pytest.importorskip("peft")
    model = task.engine.model
    before = [(name, type(module)) for name, module in model.named_modules()]
    grads = [weight.requires_grad for weight in model.parameters()]
    queries = task.queries("test")
    plain = tokens_of(task.engine.generate(queries, max_new_tokens=16))
    task.settings = replace(SMALL, pairs=12, steps=12, max_new_tokens=48)
    one, *_ = lora.candidates(1.0, task)
    assert one.weights is not None
    assert one.weights[0] > 10_000
    assert one.native is not None
    acting = tokens_of(NativeEngine(task.engine, one.native).generate(queries, max_new_tokens=16))
    assert acting != plain
    assert tokens_of(task.engine.generate(queries, max_new_tokens=16)) == plain
    assert [(name, type(module)) for name, module in model.named_modules()] == before
    assert [weight.requires_grad for weight in model.parameters()] == grads
    assert not hasattr(model, "peft_config")


@pytest.mark.parametrize(("weight", "answers_alone"), [(1.0, True), (0.0, False)])
def test_of_fine_tuning_the_answers_count_alone_whatever_held_them(
    task: Task, monkeypatch: pytest.MonkeyPatch, weight: float, answers_alone: bool
) -> None:
    pytest.importorskip("peft")
    task.settings = replace(SMALL, pairs=12, steps=2, max_new_tokens=24)
    usual, seen = lora.lessons, []
    monkeypatch.setattr(lora, "lessons", lambda task: usual(task, "constrained"))

    def run(course: training.Course) -> None:
        course._teach(lambda *_: None)
        for number, lesson in enumerate(course.lessons):
            first = course.targets[number].log_probs[: len(lesson.answer) - lesson.ended, 0]
            seen.append(float(first.exp().min()))

    monkeypatch.setattr(training.Course, "run", run)
    lora.candidates(weight, task)
    assert (min(seen) > 0.999) is answers_alone


def test_a_lora_holds_few_lessons_at_once_and_logits_of_their_answers_alone(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    task.settings = replace(SMALL, pairs=12, steps=2, max_new_tokens=16)
    usual, passes = training.answer_logits, []

    def counted(engine: Any, rows: Any) -> torch.Tensor:
        logits = usual(engine, rows)
        passes.append((len(rows.ids), len(logits), int(rows.answers.sum()), rows.ids.numel()))
        return logits

    monkeypatch.setattr(training, "answer_logits", counted)
    lora.candidates(1.0, task)
    assert max(rows for rows, *_ in passes) == lora.AT_ONCE
    assert all(logits == answers < positions for _, logits, answers, positions in passes)


def test_candidates_beyond_the_most_are_drawn_by_the_seed_and_the_first_stays(task: Task) -> None:
    items = list(range(49))
    assert task.some(items) == items
    task.settings = replace(SMALL, candidates=5)
    drawn = task.some(items)
    assert (drawn[0], len(drawn)) == (0, 5)
    assert [(one - 1) // 12 for one in drawn[1:]] == [0, 1, 2, 3]  # one of each part of the rest
    assert task.some(items) == drawn
    task.settings = replace(SMALL, candidates=5, seed=1)
    assert task.some(items) != drawn
    task.settings = replace(SMALL, candidates=1)
    assert task.some(items) == [0]


def test_directions_are_tried_alone_in_every_block_of_a_shallow_model_and_in_some_of_a_deep_one() -> None:
    assert depths(range(5)) == [2, 1, 3, 0, 4]
    assert depths(range(30)) == [15, 12, 18, 9, 21, 6, 24, 3, 27, 0]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("repeng", {"method": "pca_diff", "data": "pairs with beginnings", "blocks": "middle"}),
        ("steering-vectors", {"blocks": "all", "multiplier": 1.0}),
    ],
)
def test_the_first_candidate_is_what_its_authors_would_take(
    name: str, first: dict[str, Any], task: Task
) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("gguf")
    if installed([all_methods()[name]])[1]:
        pytest.skip(f"{name} is not installed; `make bench` installs it")
    assert first.items() <= all_methods()[name].candidates(task)[0].settings.items()


def test_what_a_librarys_code_writes_is_put_beside_its_vectors_as_edits(task: Task) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("gguf")
    if installed([all_methods()["repeng"], all_methods()["steering-vectors"]])[1]:
        pytest.skip("a library is not installed; `make bench` installs it")
    found = libraries.lines(task)
    assert [line[:2] for line in found] == [
        ["repeng, pca_diff", "float32"],
        ["repeng, pca_center", "float32"],
        ["steering-vectors", "float32"],
    ]
    assert all(line[2:5] == ["1.00"] * 3 for line in found)
    assert found[-1][-1] == "1.00"  # it is the mean difference


def test_coefficients_of_repeng_are_in_units_of_the_residual_stream(task: Task) -> None:
    assert repeng.norm(task) == 256.0


def test_an_answer_that_changes_nothing_is_as_fast_as_plain_and_keeps_nothing(task: Task) -> None:
    found = costs_of(task, Candidate({}))
    assert (found.speed, found.bytes, found.parameters, found.prompt_tokens) == (1.0, 0, 0, 0)
    pushed_costs = costs_of(task, pushed(task, 1.0))
    assert pushed_costs.parameters == task.engine.identity.width + 1
    assert pushed_costs.speed is not None
    assert pushed_costs.speed > 0
    task.settings = replace(SMALL, speed=False)
    assert costs_of(task, pushed(task, 1.0)).speed is None


# --- the cells -------------------------------------------------------------------------------------------------------


def counted(task: Task, name: str = "counted") -> tuple[Method, list[int]]:
    calls: list[int] = []

    def candidates(task: Task) -> list[Candidate]:
        calls.append(1)
        return [nothing(task, name="only")]

    return Method(name, f"the {name} one", candidates, "nobody"), calls


def test_a_cell_is_measured_once_and_found_again(task: Task, tmp_path: Path) -> None:
    method, calls = counted(task)
    store = cells.Store(tmp_path / "deep" / "work")
    first = cells.method_cell(store, task, method)
    assert cells.method_cell(store, task, method) == first
    assert len(calls) == 1
    assert set(first.rows) == {"steered", "instructed+steered"}
    assert len(first.rows["steered"]["answers"]) == SMALL.test
    assert (
        cells.method_cell(cells.Store(tmp_path / "deep" / "work", fresh=True), task, method).rows
        == first.rows
    )
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["", "{", '{"key": 1}', '["no"]', '{"key": "x", "cell": {}}'])
def test_a_damaged_cell_is_measured_anew(task: Task, tmp_path: Path, damage: str) -> None:
    method, calls = counted(task)
    store = cells.Store(tmp_path)
    expected = cells.method_cell(store, task, method).rows
    [path] = tmp_path.iterdir()
    path.write_text(damage, encoding="utf-8")
    assert cells.method_cell(store, task, method).rows == expected
    assert len(calls) == 2


def test_a_cell_of_other_settings_or_other_code_is_not_used(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, calls = counted(task)
    store = cells.Store(tmp_path)
    cells.method_cell(store, task, method)
    task.settings = replace(SMALL, seed=1)
    cells.method_cell(store, task, method)
    task.settings = SMALL
    monkeypatch.setattr(cells, "code_digest", lambda: "another trimtab")
    cells.method_cell(store, task, method)
    assert len(calls) == 3


def test_what_is_kept_of_the_same_settings_is_read_whatever_code_measured_it(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, calls = counted(task)
    store = cells.Store(tmp_path)
    assert store.kept(task, method.key) is None
    monkeypatch.setattr(cells, "code_digest", lambda: "an earlier trimtab")
    first = cells.method_cell(store, task, method)
    monkeypatch.undo()
    found = store.kept(task, method.key)
    assert found == first
    assert found is not None
    assert found.code == "an earlier trimtab"
    other = cells.unsteered_cell(store, task, "baseline")
    made = [table.Line(one.method, {one.instruction: one}) for one in (found, other)]
    said = table.caption(made, SMALL, "m")
    assert "Put together from rows that 2 versions of the code measured" in said
    assert "Measured in" not in said
    made += [table.Line("another", {other.instruction: replace(other, dtype="bfloat16")})]
    assert "Measured in float32, but in bfloat16: another." in table.caption(made, SMALL, "m")
    task.settings = replace(SMALL, seed=1)
    assert store.kept(task, method.key) is None
    assert len(calls) == 1


def test_the_unsteered_rows_are_the_two_conditions(task: Task, tmp_path: Path) -> None:
    store = cells.Store(tmp_path)
    plain = cells.unsteered_cell(store, task, "baseline")
    instructed = cells.unsteered_cell(store, task, "instructed")
    assert set(plain.rows) == {"baseline"}
    assert instructed.rows["instructed"]["condition"] == "instructed"
    assert instructed.rows["instructed"]["followed"] > plain.rows["baseline"]["followed"]


# --- the table -------------------------------------------------------------------------------------------------------


def cell(method: str, instruction: str, followed: float, **more: Any) -> cells.Cell:
    quality = {"perplexity": 2.0, "repetition": 0.0, "facts": None if method == "trimtab" else 0.5}
    names = [method] if method in UNSTEERED else ["steered", "instructed+steered"]
    answers = [{"query": "q", "text": "t", "strict": number < followed * 4} for number in range(4)]
    rows = {name: {"followed": followed, "quality": quality, "answers": answers} for name in names}
    seconds = None if method in UNSTEERED else {"learn": 1.25, "choose": 2.5}
    costs = {"facts": None, "prompt_tokens": 0.0, "parameters": 1000, "bytes": 4000, "speed": 0.5}
    return cells.Cell(method, instruction, rows, seconds=seconds, costs=costs, **more)


def lines() -> list[table.Line]:
    return [
        table.Line("baseline", {"json": cell("baseline", "json", 0.0), "b": cell("baseline", "b", 0.5)}),
        table.Line(
            "ours",
            {
                "json": cell("trimtab", "json", 1.0),
                "b": cell("trimtab", "b", 0.75, improved=False, same=0.5),
            },
        ),
    ]


def test_the_markdown_is_aligned_and_marks_what_was_no_better_than_nothing() -> None:
    assert table.markdown_table(table.shares(lines())).splitlines() == [
        "| method   | json |     b | mean | instructed+steered | facts | perpl. | sec. |",
        "| -------- | ---: | ----: | ---: | -----------------: | ----: | -----: | ---: |",
        "| baseline | 0.00 |  0.50 | 0.25 |                  - |  0.50 |   2.00 |    - |",
        "| ours     | 1.00 | 0.75° | 0.88 |               0.88 |     - |   2.00 |    4 |",
    ]
    caption = table.caption(lines(), SMALL, "nano")
    assert "° on validation" in caption
    assert "ours on b (0.50)" in caption
    assert "°" not in table.caption(lines()[:1], SMALL, "nano")


def test_what_following_costs_stands_beside_how_sure_the_share_is() -> None:
    head, _, ours = table.costs(lines())
    assert dict(zip(head, ours, strict=True)) == {
        "method": "ours",
        "followed": "0.88",
        "interval": "0.53-0.98",
        "repetition": "0.00",
        "prompt tokens": "0",
        "sec. to learn": "1",
        "parameters": "1,000",
        "bytes": "4,000",
        "speed": "0.50",
    }
    scored = lines()
    for one in scored[1].measured:
        one.rows["steered"]["scorer_perplexity"] = 7.0
    head, plain, ours = table.costs(scored)
    column = head.index("other perpl.")
    assert (plain[column], ours[column]) == ("-", "7.00")


def test_a_method_that_refused_has_no_numbers_and_its_reason_below() -> None:
    refused = cells.Cell("lora", "json", {}, refused="too few answers")
    line = table.Line("the LoRA", {"json": refused, "b": cell("lora", "b", 1.0)})
    assert table.shares([line])[1][1:4] == ["-", "1.00", "1.00"]
    assert "the LoRA refused json: too few answers." in table.caption([line], SMALL, "nano")
    nothing = table.Line("the LoRA", {"json": refused})
    assert table.shares([nothing])[1][1:] == ["-"] * 6
    assert table.costs([nothing])[1][1:] == ["-"] * 8


def test_what_is_better_than_ours_is_said_first() -> None:
    better, worse = cell("wording", "json", 1.0), cell("wording", "b", 1.0)
    better.costs["speed"] = worse.costs["speed"] = 0.4
    rival = table.Line("ten wordings", {"json": better, "b": worse})
    held = table.Line("ours, told", {"json": cell("trimtab+instruction", "json", 1.0)})
    partial_one = table.Line(
        "partial", {"json": cell("x", "json", 1.0), "b": cells.Cell("x", "b", {}, refused="no")}
    )
    said = table.better_than_ours([*lines(), rival, held, partial_one])
    assert "- followed (0.88): ten wordings 1.00" in said.splitlines()
    assert "- speed (0.50): nothing" in said.splitlines()
    alike = table.Line("alike", {"json": cell("x", "json", 1.0), "b": cell("x", "b", 0.75)})
    both = table.better_than_ours([*lines(), rival, alike]).splitlines()
    assert "- followed (0.88): ten wordings 1.00; as often: alike" in both
    assert "ours, told" not in said
    assert "partial" not in said
    assert table.better_than_ours(lines()[:1]) == ""


def test_a_page_with_marks_gets_the_table_between_them() -> None:
    page = "# Title\n\n<!-- the table of benchmarks/compare -->\nold\n<!-- end of the table -->\n\nMore.\n"
    new = table.put_into(page, "| new |")
    assert new == page.replace("old", "| new |")
    assert table.put_into(new, "old") == page
    assert table.put_into("no marks here", "| new |") == table.put_into("", "| new |") == "| new |\n"
    both = page + page.replace("compare -->", "compare: smollm2 -->")
    assert table.put_into(both, "| new |", "smollm2") == page + page.replace(
        "compare -->", "compare: smollm2 -->"
    ).replace("old", "| new |")


def test_the_page_of_the_documentation_has_the_marks() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert table.put_into(page, "new") != "new\n"
    for place in ("smollm2", "language", "libraries"):
        assert table.put_into(page, "new", place) != "new\n"


def test_a_terminal_sees_the_same_numbers() -> None:
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as captured:
        console.print(table.terminal_table(table.shares(lines())))
    *_, last = captured.get().rstrip().splitlines()
    assert last.split() == ["ours", "1.00", "0.75°", "0.88", "0.88", "-", "2.00", "4"]


def test_a_line_as_json_has_means_and_cells() -> None:
    values = lines()[1].to_dict()
    assert values["followed"] == 0.875
    assert values["seconds"] == 3.75
    assert [one["instruction"] for one in values["cells"]] == ["json", "b"]


# --- the command -----------------------------------------------------------------------------------------------------


def test_one_command_makes_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "table.md"
    few = "--pairs 6 --validation 2 --test 2 --max-new-tokens 16".split()
    arguments = ["-i", "lowercase", "--methods", "paper", "--work", str(tmp_path / "work"), *few]
    assert main([*arguments, "--markdown", str(written), "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [line["title"] for line in result["lines"]] == [
        "baseline",
        "instructed",
        parse_methods("paper")[0].title,
    ]
    assert result["settings"]["pairs"] == 6
    assert written.read_text(encoding="utf-8").count("| method ") == 2
    assert len(list((tmp_path / "work").glob("*.json"))) == 3
    table_before = written.read_text(encoding="utf-8")
    written.unlink()
    assert main([*arguments, "--kept", "--markdown", str(written), "--json", "-"]) == 0
    assert written.read_text(encoding="utf-8") == table_before
    assert json.loads(capsys.readouterr().out)["lines"] == result["lines"]
    assert main([*arguments, "--kept", "--seed", "1"]) == 2
    assert "has nothing of this model, these settings" in capsys.readouterr().err


def test_rivals_of_every_kind_run_in_one_command_that_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llguidance")
    few = "--pairs 12 --validation 2 --queries 2 --max-new-tokens 48 --steps 2 --candidates 2"
    arguments = ["-i", "lowercase", *few.split()]
    arguments += ["--out", str(tmp_path / "out"), "--json", "-", "--methods"]
    named = "wording,system,examples,constrained,psr,trimtab,trimtab+instruction,trimtab+constraint"
    assert main([*arguments, named]) == 0
    first = json.loads(capsys.readouterr().out)
    cells_of = {line["cells"][0]["method"]: line["cells"][0] for line in first["lines"]}
    assert set(cells_of) == {*UNSTEERED, *named.split(",")}
    assert (
        "user and assistant only" in cells_of["system"]["refused"]
    )  # nano's template takes no system message
    assert list(cells_of["wording"]["rows"]) == ["instructed"]
    assert list(cells_of["constrained"]["rows"]) == ["constrained"]
    assert list(cells_of["psr"]["rows"]) == ["steered", "instructed+steered"]
    assert cells_of["constrained"]["rows"]["constrained"]["followed"] == 1.0
    ours, told = cells_of["trimtab"], cells_of["trimtab+instruction"]
    assert ours["costs"]["parameters"] == told["costs"]["parameters"] > 0
    assert told["costs"]["prompt_tokens"] > ours["costs"]["prompt_tokens"] == 0

    def again(*arguments: object) -> None:
        raise AssertionError("a cell is measured again")

    monkeypatch.setattr(cells, "_measure", again)
    assert main([*arguments, named]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == first["lines"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "magic"], "there is no method 'magic'"),
        (["-i", "nonsense"], "nonsense"),
        (["--pairs", "1"], "--pairs"),
        (["--place", "nowhere"], "--place nowhere: the page of --markdown has no <!-- the table of"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
