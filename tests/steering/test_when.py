"""Conditions: what they decide, how they are kept, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.fakes import IDENTITY, FakeEngine

from trimtab.errors import SteeringError
from trimtab.steering.documents import canonical_digest
from trimtab.steering.edits import Edit, apply_edits
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering
from trimtab.steering.when import (
    AllOf,
    AnyOf,
    Cast,
    Matches,
    Not,
    Resembles,
    Rule,
    When,
    prompt_text,
)

WIDTH = IDENTITY.width
AXIS = torch.eye(WIDTH)[0]
RIVER = Matches(r"(?i)\briver\b")


def steering(name: str = "s", block: int = 1, identity: ModelIdentity = IDENTITY) -> Steering:
    return Steering(name, (Edit.add(block, torch.arange(1.0, WIDTH + 1)),), Record(identity))


def unread(block: int, tokens: str) -> torch.Tensor:
    raise AssertionError("a plain rule reads nothing")


def blocks_of(rows: list[Steering | None]) -> list[list[int]]:
    return [[] if row is None else [edit.block for edit in row.edits] for row in rows]


# --- deciding --------------------------------------------------------------------------------------------------------


def test_plain_rules_look_at_the_text_of_the_prompt() -> None:
    chat = [{"role": "system", "content": "a river"}, {"role": "user", "content": "a lake"}]
    assert prompt_text(chat) == "a lake"
    assert RIVER.holds("The RIVER Aar", unread)
    assert not RIVER.holds("a driver", unread)
    assert not RIVER.holds(chat, unread)
    assert Rule(str.istitle).holds("The River", unread)
    assert not Rule(str.istitle).holds("the river", unread)


truths: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from("abc"),
    lambda inner: (
        st.tuples(st.just("not"), inner)
        | st.tuples(st.just("all"), inner, inner)
        | st.tuples(st.just("any"), inner, inner)
    ),
    max_leaves=6,
)


def built(tree: Any) -> When:
    if isinstance(tree, str):
        return Matches(tree)
    kind, *parts = tree
    first, *rest = [built(part) for part in parts]
    return ~first if kind == "not" else first & rest[0] if kind == "all" else first | rest[0]


def truth(tree: Any, text: str) -> bool:
    if isinstance(tree, str):
        return tree in text
    kind, *parts = tree
    values = [truth(part, text) for part in parts]
    return not values[0] if kind == "not" else all(values) if kind == "all" else any(values)


@given(tree=truths, text=st.text("abcd", max_size=4))
def test_conditions_put_together_decide_like_logic(tree: Any, text: str) -> None:
    when = built(tree)
    assert when.holds(text, unread) == truth(tree, text)
    assert when == built(tree)
    assert hash(when) == hash(built(tree))
    assert (~when).holds(text, unread) != when.holds(text, unread)


@given(
    values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=WIDTH, max_size=WIDTH), size=st.floats(0.01, 1e3)
)
def test_a_learned_condition_compares_a_cosine(values: list[float], size: float) -> None:
    hidden = torch.tensor(values)
    score = Resembles(IDENTITY, 0, size * AXIS, 0.0).score(hidden)
    norm = float(hidden.double().norm())
    assert score == pytest.approx(values[0] / norm if norm else 0.0, abs=1e-6)
    assert Resembles(IDENTITY, 0, AXIS, score - 1e-9).holds("x", lambda block, tokens: hidden)
    assert not Resembles(IDENTITY, 0, AXIS, score + 1e-9).holds("x", lambda block, tokens: hidden)


def test_values_that_are_not_finite_are_no_decision() -> None:
    with pytest.raises(SteeringError, match="not finite at block 2"):
        Resembles(IDENTITY, 2, AXIS, 0.0).score(torch.full((WIDTH,), torch.nan))


def test_a_pattern_that_takes_too_long_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.patterns.SECONDS", 0.01)
    with pytest.raises(SteeringError, match="less backtracking"):
        Matches(r"(a|aa)+$").holds("a" * 60 + "b", unread)


class Counting(FakeEngine):
    """Tells which prompts and blocks were read."""

    def __init__(self) -> None:
        super().__init__()
        self.captured: list[tuple[list[Any], list[int]]] = []

    def capture(self, prompts: Any, **options: Any) -> Any:
        self.captured.append((list(prompts), list(options["blocks"])))
        return super().capture(prompts, **options)


def test_deciding_reads_each_prompt_once_and_only_where_a_condition_asks() -> None:
    engine = Counting()
    told, plain = "say it in lowercase", "say it"
    low, high = (Resembles(IDENTITY, block, AXIS, 0.4) for block in (1, 3))
    whole = steering("a", 0).when(low) + steering("b", 1).when(high & RIVER) + steering("c", 2)
    rows = engine.decided([whole, whole, None, whole, steering().when(RIVER)], [told, plain, "x", told, "y"])
    assert engine.captured == [([told, plain], [1, 3])]
    assert rows[0] is rows[3]
    assert rows[2] is None
    assert rows[4] is None
    assert all(row is None or not row.whens for row in rows)
    for prompt, blocks in ((told, blocks_of(rows)[0]), (plain, blocks_of(rows)[1])):
        read = FakeEngine().capture([prompt], blocks=[1], keep=True).activations
        assert blocks == ([0] if low.score(read[0, 0]) > 0.4 else []) + [2]


def test_chats_are_decided_like_prompts() -> None:
    chat = [{"role": "user", "content": "the river"}]
    rows = FakeEngine().decided(steering().when(RIVER), [chat, [{"role": "user", "content": "the lake"}]])
    assert blocks_of(rows) == [[1], []]


def test_without_conditions_steerings_pass_as_they_are() -> None:
    one = steering()
    assert FakeEngine().decided([one, None], ["a", "b"]) == [one, None]
    assert FakeEngine().decided([one * 0], ["a"]) == [None]


def test_edits_are_never_applied_undecided() -> None:
    with pytest.raises(SteeringError, match="decide that first"):
        apply_edits(torch.zeros(1, 1, WIDTH), steering().when(RIVER).edits)
    with pytest.raises(SteeringError, match="give the prompt of each row"):
        FakeEngine().edits_of_rows(steering().when(RIVER), 1)


# --- steerings that have one ---------------------------------------------------------------------------------------


def test_when_and_always() -> None:
    one = steering()
    assert one.when(RIVER).whens == (RIVER,)
    assert one.when(RIVER).when(Matches("x")).whens == (RIVER & Matches("x"),)
    assert one.when(RIVER).always().whens == ()
    assert one.when(RIVER).always().digest() == one.digest()
    assert (2 * one.when(RIVER)).whens == (RIVER,)
    both = one.when(RIVER) + one.when(~RIVER) + one.when(RIVER) + one
    assert both.whens == (RIVER, ~RIVER)
    assert len(both.decided(lambda when: when == RIVER).edits) == 3
    assert one.when(RIVER).record.measurements == one.record.measurements


def test_a_condition_counts_for_the_digest_and_its_measurements_do_not() -> None:
    def learned(**changes: Any) -> Resembles:
        values = {"model": IDENTITY, "block": 1, "direction": AXIS, "threshold": 0.5, **changes}
        return Resembles(**values)

    whens = [
        RIVER,
        ~RIVER,
        RIVER | Matches("x"),
        RIVER & Matches("x"),
        learned(),
        learned(threshold=0.4),
    ]
    whens += [learned(block=0), learned(direction=-AXIS), learned(tokens="mean")]
    digests = {steering().when(when).digest() for when in whens} | {steering().digest()}
    assert len(digests) == len(whens) + 1
    assert steering().when(learned(measurements={"f1": 1.0})).digest() == steering().when(learned()).digest()


def test_the_card_says_when_it_acts() -> None:
    learned = Resembles(IDENTITY, 1, AXIS, 0.5, measurements={"f1": 0.9})
    card = steering().when(learned & ~RIVER).describe()
    for words in (
        "acts only if",
        "last prompt token at block 1",
        "cosine > 0.5",
        "F1 0.9",
        "not (the prompt matches",
    ):
        assert words in card
    mixed = (steering().when(RIVER) + steering()).describe()
    assert "if (1)" in mixed
    assert "(1) only if" in mixed
    assert "none: it cannot be saved" in steering().when(Rule(str.isupper)).describe()
    assert "only if" not in steering().describe()


def test_what_is_no_condition_is_refused() -> None:
    for wrong in (str.isupper, "river", None):
        with pytest.raises(SteeringError, match="when to act is said by"):
            steering().when(wrong)  # type: ignore[arg-type]
    mistakes: dict[str, Callable[[], object]] = {
        "is not a regular expression": lambda: Matches("("),
        "a rule is a function": lambda: Rule("x"),  # type: ignore[arg-type]
        "finite and not zero": lambda: Resembles(IDENTITY, 0, torch.zeros(WIDTH), 0.0),
        "must be one vector": lambda: Resembles(IDENTITY, 0, [1.0], 0.0),  # type: ignore[arg-type]
        "must be a finite number": lambda: Resembles(IDENTITY, 0, AXIS, float("nan")),
        "last or mean": lambda: Resembles(IDENTITY, 0, AXIS, 0.0, "first"),  # type: ignore[arg-type]
        "reads block 4; the model has blocks 0 to 3": lambda: Resembles(IDENTITY, 4, AXIS, 0.0),
        "direction of width 9": lambda: Resembles(IDENTITY, 0, torch.ones(9), 0.0),
        "at least one": lambda: AllOf(()),
        "a list of `When` objects, and number 0 of it is 'x'": lambda: AnyOf(("x",)),  # type: ignore[arg-type]
        "only a `When` can be turned round": lambda: Not("x"),  # type: ignore[arg-type]
    }
    for words, make in mistakes.items():
        with pytest.raises(SteeringError, match=words):
            make()


def test_a_condition_learned_on_another_model_is_refused() -> None:
    other = ModelIdentity("other", None, "FakeForCausalLM", 4, WIDTH, "plain")
    with pytest.raises(SteeringError, match=r"learned on other .*: the names differ"):
        steering().when(RIVER | Resembles(other, 0, AXIS, 0.0))
    moved = steering().when(Resembles(IDENTITY, 0, AXIS, 0.0)).moved_to(other)
    assert len(moved.whens) == 1
    narrow = ModelIdentity("other", None, "FakeForCausalLM", 4, 5, "plain")
    edit = Edit(0, torch.ones(5), 1.0, when=Resembles(IDENTITY, 0, AXIS, 0.0))
    with pytest.raises(SteeringError, match="direction of width 8, the model 5"):
        Steering("x", (edit,), Record(narrow))


def test_what_was_learned_stays_of_its_model_when_moved_saved_and_loaded(tmp_path: Path) -> None:
    other = ModelIdentity("other", None, "FakeForCausalLM", 4, WIDTH, "plain")
    moved = steering().when(RIVER | Resembles(IDENTITY, 0, AXIS, 0.0)).moved_to(other)
    loaded = Steering.load(moved.save(tmp_path / "s"), other)
    assert loaded.whens == moved.whens
    assert loaded.whens[0].refusal(other) == f"its `when` was learned on {IDENTITY}: the names differ"
    assert loaded.whens[0].refusal(IDENTITY) is None
    again = Steering.load(loaded.save(tmp_path / "again"), IDENTITY, allow_other_model=True)
    assert again.whens[0].refusal(IDENTITY) is None


# --- files -----------------------------------------------------------------------------------------------------------


@given(tree=truths, threshold=st.floats(-1, 1), seed=st.integers(0, 99))
def test_saved_and_loaded_conditions_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, tree: Any, threshold: float, seed: int
) -> None:
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
    learned = Resembles(IDENTITY, 2, direction, threshold, "mean", {"f1": 0.5})
    whole = steering("a").when(built(tree) & ~learned) + steering("b") + steering("c").when(learned)
    loaded = Steering.load(whole.save(tmp_path_factory.mktemp("s") / "s"), IDENTITY)
    assert loaded.digest() == whole.digest()
    assert [edit.when for edit in loaded.edits] == [edit.when for edit in whole.edits]
    last = loaded.whens[-1]
    assert isinstance(last, Resembles)
    assert (last.threshold, last.measurements) == (threshold, {"f1": 0.5})
    assert torch.equal(last.direction, learned.direction)


def test_without_conditions_the_file_is_one_that_older_versions_read(tmp_path: Path) -> None:
    plain = json.loads((steering().save(tmp_path / "plain") / "steering.json").read_text())
    assert plain["format_version"] == 1
    assert "conditions" not in plain
    assert "condition" not in plain["edits"][0]
    conditional = json.loads((steering().when(RIVER).save(tmp_path / "when") / "steering.json").read_text())
    assert conditional["format_version"] == 2
    rectified = Steering("s", (Edit(1, torch.ones(WIDTH), 1.0, rectified=True),), Record(IDENTITY))
    written = json.loads((rectified.save(tmp_path / "rectified") / "steering.json").read_text())
    assert written["format_version"] == 3
    loaded = Steering.load(tmp_path / "rectified")
    assert loaded.edits[0].rectified
    assert loaded.digest() == rectified.digest() != steering().digest()


def test_python_code_cannot_be_saved_and_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"Python code .*isupper.* cannot be saved") as caught:
        steering().when(RIVER & Rule(str.isupper)).save(tmp_path / "s")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()
    with pytest.raises(SteeringError, match="has no digest"):
        steering().when(Rule(str.isupper)).digest()


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path: Path) -> None:
    nested: When = RIVER
    for number in range(16):
        nested = nested & Matches(str(number)) if number % 2 else nested | Matches(str(number))
    Steering.load(steering().when(nested).save(tmp_path / "deep"))
    with pytest.raises(SteeringError, match="more than 16 deep cannot be saved"):
        steering().when(~nested).save(tmp_path / "deeper")


def test_classes_that_are_never_saved_are_told_apart() -> None:
    class Always(When):
        def holds(self, prompt: object, read: object) -> bool:
            return True

        def describe(self) -> str:
            return "anything"

    class Never(Always):
        def holds(self, prompt: object, read: object) -> bool:
            return False

    both = steering(block=1).when(Always()) + steering(block=2).when(Never())
    assert Always() == Always()
    assert Always() != Never()
    assert blocks_of([both.decided(lambda when: when.holds("x", unread))]) == [[1]]
    assert steering().when(Always()).digest() != steering().when(Never()).digest()


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"kind": "matches", "pattern": "x"}
    for _ in range(levels):
        inner = {"kind": "not", "parts": [inner]}
    return inner


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("x", "must be an object"),
        ({}, "lacks 'kind'"),
        ({"kind": "moon"}, "no condition of the kind 'moon'"),
        ({"kind": "matches", "pattern": "("}, "not a regular expression"),
        ({"kind": "matches", "pattern": 1}, "'pattern' must be text"),
        ({"kind": "all", "parts": []}, "makes no condition"),
        ({"kind": "not", "parts": [deep(0), deep(0)]}, "makes no condition"),
        ({"kind": "resembles", "tokens": "x"}, "tokens must be one of"),
        (
            {"kind": "resembles", "tokens": "last", "block": 1, "threshold": 0.5, "measurements": {}},
            r"conditions\.0\) lacks the tensor direction",
        ),
        (deep(40), "more than 16 deep"),
    ],
)
def test_a_damaged_condition_is_refused_with_its_reason(tmp_path: Path, when: Any, words: str) -> None:
    path = steering().when(RIVER).save(tmp_path / "s") / "steering.json"
    document = json.loads(path.read_text())
    checksums = document.pop("checksums")
    document["conditions"] = [when]
    document["checksums"] = {**checksums, "document": canonical_digest(document)}
    path.write_text(json.dumps(document))
    with pytest.raises(SteeringError, match=words) as caught:
        Steering.load(tmp_path / "s")
    assert "\n" not in str(caught.value)


def test_an_edit_with_a_condition_that_is_not_listed_is_refused(tmp_path: Path) -> None:
    path = steering().when(RIVER).save(tmp_path / "s") / "steering.json"
    document = json.loads(path.read_text())
    document["edits"][0]["condition"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(SteeringError, match="there is no condition 1; 1 are listed"):
        Steering.load(tmp_path / "s")


def test_what_cast_compares_is_that_of_its_code() -> None:
    """As its LeashLayer computes it, and without regard to the direction's sign."""
    direction = torch.linspace(-1, 2, WIDTH)
    hidden = 30 * torch.linspace(2, -1, WIDTH).cos()
    projector = torch.ger(direction, direction) / torch.dot(direction, direction)
    projected = torch.tanh(projector @ hidden)
    theirs = float(torch.dot(hidden, projected) / (hidden.norm() * projected.norm()))
    for sign in (1, -3):
        when = Cast(IDENTITY, 1, sign * direction, theirs - 1e-5)
        assert when.score(hidden) == pytest.approx(theirs, abs=1e-6)
        assert when.holds("x", lambda block, tokens: hidden)
        assert (~when).holds("x", lambda block, tokens: hidden) is False
    near = Cast(IDENTITY, 1, direction, 0.0).score(hidden * 1e-6)
    assert near == pytest.approx(abs(Resembles(IDENTITY, 1, direction, 0.0).score(hidden)), abs=1e-4)
    assert Cast(IDENTITY, 1, direction, 0.0).score(torch.zeros(WIDTH)) == 0
    assert when != Resembles(IDENTITY, 1, -3 * direction, theirs - 1e-5)
    assert "tanh of its projection (CAST) >" in when.describe()
    with pytest.raises(SteeringError, match="not finite at block 1"):
        when.score(torch.full((WIDTH,), torch.nan))


def test_what_cast_compares_is_saved(tmp_path: Path) -> None:
    when = ~Cast(IDENTITY, 1, AXIS, 0.25, "mean", {"f1": 0.9}) | RIVER
    steering().when(when).save(tmp_path / "x")
    assert Steering.load(tmp_path / "x").whens == (when,)
