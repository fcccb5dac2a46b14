from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import instructions, nano
from trimtab.errors import InstructionError, PromptError, TrimtabError
from trimtab.evaluate import suites
from trimtab.evaluate.suite_files import read_items

LOWERCASE = instructions.get("lowercase")
JSON = instructions.get("json")
IFEVAL = [
    {
        "key": 7,
        "prompt": "Write a poem on the sea. Use small letters only and no commas.",
        "instruction_id_list": ["change_case:english_lowercase", "punctuation:no_comma"],
        # As in the Hub's table, where every row has every parameter.
        "kwargs": [{"num_bullets": None, "language": None}, {"num_bullets": None, "language": None}],
    },
    {
        "key": 9,
        "prompt": "Tell a joke with exactly 3 bullet points.",
        "instruction_id_list": ["detectable_format:number_bullet_lists"],
        "kwargs": [{"num_bullets": 3, "language": None}],
    },
]
SINGLE = [
    {
        "key": 9,
        "prompt": f"Tell a joke. Include the word {word}.",
        "instruction_id_list": ["keywords:existence"],
        "kwargs": [{"keywords": [word]}],
        "prompt_without_instruction": "Tell a joke.",
        "instruction_id_list_for_eval": ["keywords:existence"],
        "old_prompt": "Tell a long joke.",
    }
    for word in ("owl", "moon")
]


def lines(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ifeval_rows_hold_their_instruction_and_have_no_bare_query(tmp_path: Path) -> None:
    suite = suites.load(lines(tmp_path / "ifeval.jsonl", IFEVAL))
    assert [item.key for item in suite.items] == ["7", "9"]
    assert [item.query for item in suite.items] == [None, None]
    assert suite.items[0].asked == suite.items[0].instructed == IFEVAL[0]["prompt"]
    assert suite.items[0].instructions == (LOWERCASE, instructions.get("no_commas"))
    assert suite.items[1].instructions == (instructions.get("bullets", num_bullets=3),)
    assert suite.bare == 0


def test_the_papers_files_carry_the_bare_query_and_repeat_keys(tmp_path: Path) -> None:
    suite = suites.load(lines(tmp_path / "keywords.jsonl", SINGLE))
    assert [item.key for item in suite.items] == ["9", "9 (2)"]
    assert {item.query for item in suite.items} == {"Tell a joke."}
    assert suite.items[1].instructed == "Tell a joke. Include the word moon."
    assert suite.name == "keywords"


@pytest.mark.parametrize("field", ["query", "prompt_without_instruction", "model_output"])
def test_bare_queries_come_from_a_file_by_key(tmp_path: Path, field: str) -> None:
    bare = lines(
        tmp_path / "bare.jsonl", [{"key": 7, field: "Write a poem on the sea.", "original_prompt": "x"}]
    )
    suite = suites.load(lines(tmp_path / "ifeval.jsonl", IFEVAL), bare=bare)
    assert [item.query for item in suite.items] == ["Write a poem on the sea.", None]
    assert suite.bare == 1


def test_rows_of_one_key_share_the_bare_query_of_that_key(tmp_path: Path) -> None:
    rows = [{**row, "prompt_without_instruction": None} for row in SINGLE]
    bare = lines(tmp_path / "bare.jsonl", [{"key": 9, "query": "Tell a joke."}])
    suite = suites.load(lines(tmp_path / "keywords.jsonl", rows), bare=bare)
    assert [(item.key, item.query) for item in suite.items] == [
        ("9", "Tell a joke."),
        ("9 (2)", "Tell a joke."),
    ]


def test_bare_queries_of_other_keys_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "ifeval.jsonl", IFEVAL)
    with pytest.raises(PromptError, match="no query for any key"):
        suites.load(path, bare=lines(tmp_path / "bare.jsonl", [{"key": 1, "query": "x"}]))
    with pytest.raises(PromptError, match="line 1 needs a 'key'"):
        suites.load(path, bare=lines(tmp_path / "bare.jsonl", [{"query": "x"}]))
    with pytest.raises(PromptError, match="has bare queries already"):
        suites.load("nano", bare=path)


def test_own_rows_give_queries_prompts_or_both() -> None:
    suite = suites.read(
        [
            {"query": "What is a river?", "instructions": ["lowercase", "sentences(at_most=2)"]},
            {"query": "What is a river?", "prompt": "River? Quietly.", "instructions": "lowercase,json"},
            {"prompt": "River?", "instructions": [{"name": "json", "params": {}}], "key": "third"},
            {"query": "Hi.", "instructions": ["json"], "questions": ["Is it kind?"]},
        ],
        name="mine",
    )
    first, second, third, fourth = suite.items
    assert [item.key for item in suite.items][:3] == ["mine, row 1", "mine, row 2", "third"]
    added = first.instructed.removeprefix("What is a river? ")
    small, short = first.instructions
    assert any(added == f"{a} {b}" for a in small.phrasings("test") for b in short.phrasings("test"))
    assert (second.instructed, second.instructions) == ("River? Quietly.", (LOWERCASE, JSON))
    assert (third.query, third.asked) == (None, "River?")
    assert fourth.questions == ("Is it kind?",)
    assert suite.instructions == (LOWERCASE, short, JSON)


def test_every_item_of_a_built_in_suite_has_test_questions_and_test_phrasings() -> None:
    suite = suites.load("nano", instructions=[LOWERCASE, JSON], limit=3)
    assert len(suite.items) == 6
    assert suite.about_nano
    test = set(nano.queries("test"))
    for item in suite.items:
        assert item.query in test
        (instruction,) = item.instructions
        assert item.instructed.removeprefix(f"{item.query} ") in instruction.phrasings("test")
    # One baseline serves all instructions.
    assert [item.query for item in suite.items[:3]] == [item.query for item in suite.items[3:]]
    assert not suites.load("base", instructions=[JSON], limit=2).about_nano


def test_nano_asks_one_of_every_kind_it_was_taught_unless_told_otherwise() -> None:
    suite = suites.load("nano", limit=1)
    assert {one.name for one in suite.instructions} == {one.name for one in nano.instructions()}
    assert instructions.get("repeat_prompt") in suite.instructions


def test_an_instruction_about_the_query_stays_one_row() -> None:
    suite = suites.load("nano", instructions=[instructions.get("repeat_prompt")], limit=2)
    assert suite.instructions == (instructions.get("repeat_prompt"),)


def test_a_limit_draws_by_seed_and_keeps_the_order() -> None:
    rows = [{"query": f"q{i}", "instructions": ["json"], "key": i} for i in range(30)]
    suite = suites.read(rows)
    chosen = [int(item.key) for item in suite.limited(7, seed=1).items]
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == 7
    assert chosen == [int(item.key) for item in suite.limited(7, seed=1).items]
    assert chosen != [int(item.key) for item in suite.limited(7, seed=2).items]
    assert suite.limited(99) is suite
    with pytest.raises(PromptError, match="at least 1"):
        suite.limited(0)


def test_only_items_with_chosen_instructions_are_kept(tmp_path: Path) -> None:
    path = lines(tmp_path / "ifeval.jsonl", IFEVAL)
    kept = suites.load(path, instructions=[instructions.get("bullets", num_bullets=3)])
    assert [item.key for item in kept.items] == ["9"]
    with pytest.raises(PromptError, match="only instructions of these: json"):
        suites.load(path, instructions=[JSON])


def test_the_hub_is_asked_for_ifeval(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, split: str) -> list[Mapping[str, Any]]:
        asked.append((name, split))
        return IFEVAL

    fake = types.ModuleType("datasets")
    fake.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    suite = suites.load("ifeval")
    assert asked == [("google/IFEval", "train")]
    assert (suite.name, len(suite.items)) == ("ifeval", 2)
    assert suite.source == "the dataset google/IFEval"


def test_without_the_extra_or_the_network_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PromptError, match=r"trimtab\[datasets\].*\.jsonl file"):
        suites.load("ifeval")
    fake = types.ModuleType("datasets")

    def refuse(name: str, split: str) -> None:
        raise ConnectionError("no route")

    fake.load_dataset = refuse  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    with pytest.raises(PromptError, match=r"no route.*\.jsonl file"):
        suites.load("ifeval")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "a"}, "line 1 names no instructions"),
        ({"instructions": ["json"]}, "neither a 'query' nor a 'prompt'"),
        ({"query": "a", "instructions": []}, "a list of at least one"),
        ({"query": "a", "instructions": [3]}, "not 3"),
        ({"query": "a", "instructions": ["jsom"]}, "line 1: .*did you mean json"),
        ({"query": "a", "instructions": [{"name": "bullets"}]}, "line 1: bullets needs num_bullets"),
        ({"query": " ", "instructions": ["json"]}, "'query' must be a text"),
        ({"query": 3, "instructions": ["json"]}, "'query' must be a text"),
        ({"query": "\ud800", "instructions": ["json"]}, "not valid Unicode"),
        ({"query": "a", "instructions": ["json"], "questions": "b"}, "'questions' must be a list"),
        ({"prompt": "a", "instruction_id_list": ["punctuation:no_comma"]}, "has no 'kwargs'"),
        ({"prompt": "a", "instruction_id_list": [], "kwargs": []}, "at least one id"),
        ({"prompt": "a", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "as many objects"),
        (
            {"prompt": "a", "instruction_id_list": ["no:such"], "kwargs": [{}]},
            "line 1: there is no instruction",
        ),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}, "has no 'prompt'"),
        ([1], "is list, not an object"),
    ],
)
def test_rows_that_cannot_be_used_say_where_and_why(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(TrimtabError, match=message):
        suites.load(lines(tmp_path / "rows.jsonl", [row]))


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"no suite or file 'nono'; give nano, base, ifeval"):
        suites.load("nono")
    with pytest.raises(PromptError, match="there is no file"):
        suites.load(tmp_path / "missing.jsonl")
    with pytest.raises(PromptError, match="nothing in"):
        suites.load(lines(tmp_path / "empty.jsonl", []))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"query": "a", "instructions": ["json"]}\n{"query": ', encoding="utf-8")
    with pytest.raises(PromptError, match=r"broken\.jsonl, line 2 is not valid JSON"):
        suites.load(broken)


def test_a_suite_has_items_with_keys_of_their_own() -> None:
    item = suites.read([{"query": "a", "instructions": ["json"]}]).items[0]
    with pytest.raises(PromptError, match="two items with the key"):
        suites.Suite("twice", (item, item), "here")
    with pytest.raises(PromptError, match="no items"):
        suites.Suite("none", (), "here")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["key", "query", "prompt", "instructions", "instruction_id_list", "kwargs", "questions"]
        ),
        anything | st.just("json") | st.just(["json"]) | st.just(["punctuation:no_comma"]) | st.just([{}]),
    )
)
def test_any_row_is_read_or_refused_in_one_line(row: dict[str, Any]) -> None:
    try:
        items = read_items([("here", row)])
    except (PromptError, InstructionError) as error:
        message = str(error)
    else:
        message = ""
        assert items[0].instructions
        assert items[0].asked.strip()
    assert not message or "here" in message
