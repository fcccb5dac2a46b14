"""Prompts: the text a model sees, the base queries, pairs, and queries of the user's own."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from itertools import combinations, count, product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab import instructions, nano, prompts
from trimtab.errors import PromptError
from trimtab.prompts.queries import normalised
from trimtab.steering.record import ModelIdentity

REAL = ModelIdentity("maker/model", None, "LlamaForCausalLM", 4, 8, "plain")


# --- base queries ----------------------------------------------------------------------------------------------------

ALL = {split: prompts.base_queries(split) for split in prompts.SPLITS}
# What a query shares with many others without being about the same thing.
COMMON = set(
    "a an the of to in on for and or is are was were do does did how what why who which that this it i my me you your "
    "we our with from by at as be can could should would will have has had not but if when where so than then there "
    "give tell write explain describe compare teach suggest name plan summarise think make".split()
)


def content_words(query: str) -> set[str]:
    return set(normalised(query).split()) - COMMON


def test_there_are_enough_and_they_are_split_as_promised() -> None:
    total = sum(map(len, ALL.values()))
    assert total >= 420
    assert len(ALL["learning"]) / total == pytest.approx(0.6, abs=0.02)
    assert len(ALL["validation"]) / total == pytest.approx(0.2, abs=0.02)


def test_no_query_is_there_twice() -> None:
    counts = Counter(normalised(query) for queries in ALL.values() for query in queries)
    assert [query for query, count in counts.items() if count > 1] == []


def test_no_query_has_a_near_duplicate_in_another_split() -> None:
    words = {query: content_words(query) for queries in ALL.values() for query in queries}
    near = []
    for first, second in combinations(ALL.values(), 2):
        for one, two in product(first, second):
            shared = len(words[one] & words[two])
            if shared / len(words[one] | words[two]) > 0.45 or (
                shared >= 2 and shared == min(len(words[one]), len(words[two]))
            ):
                near.append((one, two))
    assert near == []


def test_no_query_says_how_the_answer_should_look() -> None:
    form = re.compile(
        r"\b(in|at least|at most|exactly|under|within|no more than) ((one|two|three|four|five|ten|\d+) )"
        r"(words?|sentences?|paragraphs?|lines?|bullets?)\b|\bbullet|\bjson\b|\bmarkdown\b|\b(upper|lower)case\b"
        r"|\bcapital letters?\b|\bbriefly\b|\bconcise|\bin detail\b|\bshort(ly)? (answer|story|poem|text)|\bcommas?\b"
        r"|\bavoid(ing)? the word|\bwithout using\b|\binclude the\b|\bkeywords?\b|\btitle in\b|\brhym",
        re.IGNORECASE,
    )
    assert [query for queries in ALL.values() for query in queries if form.search(query)] == []


def test_queries_vary_in_length_and_kind() -> None:
    for queries in ALL.values():
        lengths = [len(query.split()) for query in queries]
        assert min(lengths) <= 5
        assert sum(length >= 25 for length in lengths) >= 4
        starts = {query.split()[0] for query in queries}
        assert len(starts) >= 25
        assert {"Write", "How", "What", "Explain", "Describe", "Why"} <= starts
    assert all(query == query.strip() and query for queries in ALL.values() for query in queries)


def test_a_returned_list_is_the_callers_own() -> None:
    prompts.base_queries("test").clear()
    assert prompts.base_queries("test") == ALL["test"]


def test_the_default_queries_of_a_real_model_are_the_base_queries() -> None:
    assert prompts.default_queries(REAL, "test") == ALL["test"]
    some = prompts.default_queries(REAL, "learning", 40, seed=3)
    assert len(set(some)) == 40
    assert set(some) < set(ALL["learning"])
    assert some == prompts.default_queries(REAL, "learning", 40, seed=3)
    assert some != prompts.default_queries(REAL, "learning", 40, seed=4)


def test_more_queries_than_there_are_cannot_be_had() -> None:
    with pytest.raises(PromptError, match=r"the test split has \d+ queries, fewer than the 9999"):
        prompts.default_queries(REAL, "test", 9999)
    with pytest.raises(PromptError, match="must be a whole number from 1 on, not 0"):
        prompts.default_queries(REAL, "test", 0)
    with pytest.raises(
        PromptError, match="there is no split 'train'; the splits are learning, validation, test"
    ):
        prompts.base_queries("train")  # type: ignore[arg-type]


def test_the_built_in_model_has_queries_of_its_own() -> None:
    def queries(name: str) -> list[str]:
        identity = ModelIdentity(name, None, "llama", 4, 8, "plain")
        return prompts.default_queries(identity, "test", 2, 7)

    assert queries("nano") == queries("nano-base") == nano.queries("test", 2, 7)
    assert set(queries("someone/nano-7b")) < set(ALL["test"])


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_a_pair_is_the_query_and_the_query_with_a_phrasing() -> None:
    instruction = instructions.get("sentences", at_most=2)
    for split in prompts.SPLITS:
        for pair in prompts.make_pairs(ALL[split][:20], instruction, split):
            assert pair.plain == pair.query
            assert pair.instructed == f"{pair.query} {pair.phrasing}"
            assert pair.phrasing in instruction.phrasings(split)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 60), seed=st.integers(0, 5))
def test_phrasings_are_dealt_out_evenly_and_repeatably(count: int, seed: int) -> None:
    instruction = instructions.get("lowercase")
    pairs = prompts.make_pairs(ALL["learning"][:count], instruction, "learning", seed)
    phrasings = instruction.phrasings("learning")
    uses = Counter(pair.phrasing for pair in pairs)
    rounds, rest = divmod(count, len(phrasings))
    assert (
        sorted(uses[phrasing] for phrasing in phrasings)
        == [rounds] * (len(phrasings) - rest) + [rounds + 1] * rest
    )
    assert pairs == prompts.make_pairs(ALL["learning"][:count], instruction, "learning", seed)


def test_another_seed_deals_otherwise() -> None:
    made = [
        prompts.make_pairs(ALL["learning"], instructions.get("json"), "learning", seed) for seed in range(2)
    ]
    assert made[0] != made[1]
    assert prompts.digest(made[0]) != prompts.digest(made[1])


def test_an_instruction_about_the_query_is_filled_in_for_each() -> None:
    pairs = prompts.make_pairs(
        ["What is tea?", "Name a river."], instructions.get("repeat_prompt"), "learning"
    )
    assert len(pairs) == 2
    checks = [instructions.get("repeat_prompt").for_query(pair.query) for pair in pairs]
    assert checks[0].check("What is tea? A drink.")
    assert checks[1].check("Name a river. The Po.")
    assert not checks[0].check("Name a river. The Po.")


def test_pairs_need_a_query_and_a_split() -> None:
    with pytest.raises(PromptError, match="no queries"):
        prompts.make_pairs([], instructions.get("json"), "learning")
    with pytest.raises(PromptError, match="no split 'all'"):
        prompts.make_pairs(["x"], instructions.get("json"), "all")  # type: ignore[arg-type]


def test_the_digest_is_of_what_the_model_is_asked() -> None:
    pairs = prompts.make_pairs(["a", "b"], instructions.get("json"), "learning")
    assert prompts.digest(pairs) == prompts.digest(list(pairs))
    assert len({prompts.digest(item) for item in (pairs, pairs[::-1], pairs[:1])}) == 3


def test_pairs_of_the_users_own_prompts() -> None:
    told = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    plain = [{"role": "user", "content": "Hello"}]
    [chats, texts] = prompts.pairs_from([told, "Hello, friend"], [plain, "Hello"])
    assert (chats.plain, chats.instructed, chats.query, chats.phrasing) == (plain, told, "Hello", "")
    assert (texts.plain, texts.instructed, texts.query) == ("Hello", "Hello, friend", "Hello")
    assert prompts.digest([chats]) != prompts.digest([texts])


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        (([], []), "no prompts to make pairs of"),
        ((["a"], ["b", "c"]), "1 prompts with and 2 without"),
        ((["b", "a"], ["c", "a"]), "prompt 1 is the same with and without"),
        (("abc", ["abc"]), "with_ must be a list of prompts"),
    ],
)
def test_prompts_that_are_no_pairs(sides: Any, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        prompts.pairs_from(*sides)


def test_an_instruction_may_be_spelled() -> None:
    short = instructions.get("sentences", at_most=2)
    assert prompts.make_pairs(["Why?"], "sentences(at_most=2)", "test") == prompts.make_pairs(
        ["Why?"], short, "test"
    )


# --- the user's own --------------------------------------------------------------------------------------------------


def test_a_text_file_has_a_query_per_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffWhy?\n\n  How come?  \nWhy?\nWho, über all?\r\n", encoding="utf-8")
    assert prompts.load_queries(path) == ["Why?", "How come?", "Who, über all?"]
    assert prompts.load_queries(str(path), limit=2) == ["Why?", "How come?"]


@settings(max_examples=50, deadline=None)
@given(
    queries=st.lists(
        st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip).map(str.strip),
        min_size=1,
        unique=True,
    )
)
def test_json_lines_give_back_any_text(tmp_path_factory: Any, queries: list[str]) -> None:
    path = tmp_path_factory.mktemp("q") / "mine.jsonl"
    path.write_text("\n".join(json.dumps({"n": 1, "prompt": query}) for query in queries), encoding="utf-8")
    assert prompts.load_queries(path) == queries


def test_fields_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "a", "question": "b", "ask": "c"}\n\n"d"\n')
    assert prompts.load_queries(path) == ["b", "d"]
    assert prompts.load_queries(path, field="ask") == ["c", "d"]


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ('{"query": "a"}\n{broken', None, r"mine\.jsonl, line 2 is not valid JSON"),
        ('{"q": "a", "id": 3}', None, "no field of query, prompt.*its fields are: id, q"),
        ('{"q": "a"}', "ask", "no field 'ask'; its fields are: q"),
        ('{"query": 3}', None, "the field 'query' must be text, not int"),
        ("[1]", None, "neither a text nor an object, but list"),
        ("", None, "there is no query in"),
        ('{"query": "  "}', None, "there is no query in"),
        ("[" * 100_000, None, "not valid JSON"),
        (r'"half a pair \ud83d"', None, r"a query of .*not valid Unicode at character 12"),
    ],
)
def test_wrong_json_lines_are_named(tmp_path: Path, text: str, field: str | None, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    with pytest.raises(PromptError, match=message):
        prompts.load_queries(path, field=field)


def test_sources_that_are_not_there_are_named(tmp_path: Path) -> None:
    for source in (tmp_path / "none.txt", "none.jsonl", "a/b/c", "no such thing"):
        with pytest.raises(PromptError, match="there is no file"):
            prompts.load_queries(source)
    with pytest.raises(PromptError, match="is a folder"):
        prompts.load_queries(tmp_path)
    with pytest.raises(PromptError, match="cannot read"):
        prompts.load_queries("why " * 100)
    for ending in ("json", "csv", "tsv", "parquet"):
        (tmp_path / f"mine.{ending}").write_text('["a",\n"b"]')
        with pytest.raises(PromptError, match=r"mine\.\w+ has no query per line; make a \.txt file"):
            prompts.load_queries(tmp_path / f"mine.{ending}")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match="not UTF-8 text"):
        prompts.load_queries(tmp_path / "binary.txt")
    with pytest.raises(PromptError, match="limit must be a whole number from 1 on, not 0"):
        prompts.load_queries(tmp_path / "none.txt", limit=0)


def test_a_dataset_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PromptError, match=r"pip install 'trimtab\[datasets\]'"):
        prompts.load_queries("someone/questions")


def test_a_dataset_is_read_by_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(name: str, split: str) -> list[dict[str, Any]]:
        asked.append((name, split))
        if split == "none":
            raise ValueError("Unknown split\n'none'")
        return [{"prompt": "Why?", "id": 1}, {"prompt": "How?", "id": 2}, {"prompt": "Why?", "id": 3}]

    fake = ModuleType("datasets")
    fake.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert prompts.load_queries("someone/questions", dataset_split="test") == ["Why?", "How?"]
    assert asked == [("someone/questions", "test")]
    with pytest.raises(PromptError, match="row 1: the field 'id' must be text"):
        prompts.load_queries("someone/questions", field="id")
    with pytest.raises(
        PromptError, match=r"cannot load the dataset someone/questions \(split none\): Unknown split 'none'"
    ):
        prompts.load_queries("someone/questions", dataset_split="none")


def test_of_a_long_dataset_no_more_is_read_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("datasets")
    endless = ({"query": f"Why {number // 2}?"} for number in count())
    fake.load_dataset = lambda name, split: endless  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert prompts.load_queries("someone/questions", limit=2) == ["Why 0?", "Why 1?"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1), max_size=40), st.lists(st.text(min_size=1), max_size=10))
def test_own_queries_keep_their_split_when_others_come(queries: list[str], more: list[str]) -> None:
    parts = prompts.split_queries(queries)
    assert sorted(query for part in parts.values() for query in part) == sorted(queries)
    grown = prompts.split_queries([*queries, *more])
    for split, part in parts.items():
        assert grown[split][: len(part)] == part


def test_own_queries_are_split_about_as_promised_and_variants_stay_together() -> None:
    parts = prompts.split_queries([f"query number {i}" for i in range(1000)])
    assert [round(len(parts[split]) / 1000, 1) for split in prompts.SPLITS] == [0.6, 0.2, 0.2]
    together = prompts.split_queries(["Why is it so?", "why is it so", " WHY  is it so!"])
    assert sorted(map(len, together.values())) == [0, 0, 3]


# --- drawn for a piece of work ---------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.txt"
    path.write_text("\n".join(f"Why is {number} a number?" for number in range(40)), encoding="utf-8")
    return path


def test_queries_of_the_model_are_drawn_split_by_split() -> None:
    drawn = prompts.draw_queries(REAL, learning=5, validation=3, test=2, seed=4)
    assert drawn.learning == prompts.default_queries(REAL, "learning", 5, 4)
    assert drawn.validation == prompts.default_queries(REAL, "validation", 3, 4)
    assert drawn.test == prompts.default_queries(REAL, "test", 2, 4)
    assert drawn.pool is None
    assert prompts.draw_queries(REAL, validation=3).learning == []


def test_own_queries_are_split_where_several_parts_are_wanted(own: Path) -> None:
    parts = prompts.split_queries(prompts.load_queries(own))
    drawn = prompts.draw_queries(REAL, own, learning=5, validation=1000, seed=4)
    assert drawn.learning == prompts.sample_queries(parts["learning"], 5, 4)
    assert sorted(drawn.validation) == sorted(parts["validation"])
    assert (drawn.test, drawn.pool) == ([], parts["learning"])


@pytest.mark.parametrize("split", prompts.SPLITS)
def test_own_queries_are_not_split_for_one_part_alone(own: Path, split: prompts.Split) -> None:
    drawn = prompts.draw_queries(REAL, own, **{split: 7}, seed=4)  # type: ignore[arg-type]
    found = prompts.load_queries(own)
    assert getattr(drawn, split) == prompts.sample_queries(found, 7, 4)
    assert drawn.pool == (found if split == "learning" else None)


def test_too_few_own_queries_to_keep_some_apart(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Why?", encoding="utf-8")
    with pytest.raises(
        PromptError, match=r"one.txt has too few queries \(1\) to set some aside .*give more, or less"
    ):
        prompts.draw_queries(
            REAL, tmp_path / "one.txt", learning=1, validation=1, test=1, otherwise=", or less"
        )
