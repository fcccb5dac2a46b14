from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import tiny_tokenizer

from trimtab.thoughts import Parts, Reader, ThoughtFormat, find, names_of_formats
from trimtab.thoughts.marks import Node


def tokenizer(*own: str) -> Any:
    """A tokenizer of bytes, in which some texts are tokens of their own."""
    made = tiny_tokenizer()
    made.add_tokens(list(own))
    return made


SPELT = Reader(tokenizer("<tool_call>"), "think")
OWN = Reader(tokenizer("<think>", "</think>", "<tool_call>", "</tool_call>"))
HARMONY = Reader(tokenizer("<|channel|>", "<|message|>", "<|start|>", "<|call|>"), "harmony")


def ids(reader: Reader, text: str) -> list[int]:
    return list(reader._tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("reader", [SPELT, OWN], ids=["spelt", "own"])
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>hm</think>\n\nYes", Parts("Yes", "hm")),
        ("\n<think>\n\n</think>\n\nYes", Parts("Yes", "")),
        ("<think>hm and so on", Parts("", "hm and so on")),
        ("<think>hm</thi", Parts("", "hm</thi")),
        ("Yes", Parts("Yes")),
        (" <b>Yes</b>\n", Parts(" <b>Yes</b>\n")),
        ("", Parts("")),
        ("<th", Parts("<th")),
        ("Say <think> to think</think>.", Parts("Say <think> to think</think>.")),
        ("<think>a</think>b</think>c", Parts("b</think>c", "a")),
        ("<think>ünï</think>ü→", Parts("ü→", "ünï")),
    ],
)
def test_think(reader: Reader, text: str, parts: Parts) -> None:
    assert reader.parts(ids(reader, text)) == parts


def test_a_model_that_never_opens_its_thought() -> None:
    reader = Reader(tokenizer(), ThoughtFormat.tags("closes", "<think>", "</think>", begins="thought"))
    assert reader.parts(ids(reader, "hm</think>Yes")) == Parts("Yes", "hm")
    assert reader.parts(ids(reader, "<think>hm</think>Yes")) == Parts("Yes", "hm")
    assert reader.parts(ids(reader, "hm")) == Parts("", "hm")


def test_calls_are_apart() -> None:
    text = "<think>x<tool_call></think>I look.<tool_call>\n{}\n</tool_call>\n<tool_call>{1}</tool_call>"
    assert OWN.parts(ids(OWN, text)) == Parts("I look.\n", "x<tool_call>", ("{}", "{1}"))
    assert OWN.parts(ids(OWN, "<tool_call>{}")) == Parts("", None, ("{}",))
    labels = OWN.of_answer(OWN.marks.begin, ids(OWN, "<think>a</think>b<tool_call>c</tool_call>d"))
    assert labels == [False, False, False, True, False, False, False, True]


def test_channels() -> None:
    thought = "<|channel|>analysis<|message|>hm<|end|>"
    answer = "<|start|>assistant<|channel|>final<|message|>Hello"
    call = "<|start|>assistant<|channel|>commentary to=functions.get <|constrain|>json<|message|>{}<|call|>"
    assert HARMONY.parts(ids(HARMONY, thought + answer)) == Parts("Hello", "hm")
    assert HARMONY.parts(ids(HARMONY, thought)) == Parts("", "hm")
    made = HARMONY.parts(ids(HARMONY, thought + call))
    assert (made.answer, made.thought, len(made.calls)) == ("", "hm", 1)
    assert made.calls[0].startswith("functions.get")
    assert made.calls[0].endswith("{}")
    json = "<|channel|>final <|constrain|>json<|message|>{}"
    assert HARMONY.parts(ids(HARMONY, json)) == Parts("{}")
    assert HARMONY.parts(ids(HARMONY, "<|channel|>anal")) == Parts("")


@pytest.mark.parametrize(
    ("reader", "text", "answer"),
    [
        (OWN, "  Yes\n", "  Yes\n"),
        (OWN, "<think>hm</think>\n\nYes", "Yes"),
        (OWN, "Say <think> to think.", "Say <think> to think."),
        (OWN, "<think>hm", ""),
        (HARMONY, "Hello", "Hello"),
        (HARMONY, "<|channel|>final<|message|>Hello", "Hello"),
        (
            HARMONY,
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello",
            "Hello",
        ),
    ],
)
def test_the_answer_in_a_text_that_somebody_wrote(reader: Reader, text: str, answer: str) -> None:
    assert reader.answer_in(text) == answer
    # A thought that the prompt opened needs no mark in the text; what marks nothing is answer there too.
    assert OWN.answer_in("hm</think>\n\nYes", Node("thought")) == "Yes"
    assert OWN.answer_in("Yes", Node("thought")) == "Yes"


@pytest.mark.parametrize("name", [name for name in names_of_formats() if name != "plain"])
def test_each_format_tells_thought_from_answer(name: str) -> None:
    """Behind each of its opening marks and what closes a thought, the answer comes."""
    form = find(name)
    reader = Reader(tokenizer(*form.known_by), name)
    if name == "harmony":
        opening = "<|channel|>analysis<|message|>"
    else:
        [opening] = [mark for part, mark, _ in form.rules if part == form.begins]
    text = f"{opening}\nhm\n{(form.answering or {})['thought'].lstrip()}Yes"
    assert reader.parts(ids(reader, text)) == Parts("Yes", "hm")
    cut = reader.parts(ids(reader, f"{opening}\nhm"))
    assert cut == Parts("", "hm")


@pytest.mark.parametrize(
    ("reader", "prompt", "part"),
    [
        (OWN, "<user>hi<|end|><answer>", "open"),
        (OWN, "<user>hi<|end|><answer><think>\n", "thought"),
        (OWN, "<user>hi<|end|><answer><think>I am still thin", "thought"),
        (OWN, "<user>hi<|end|><answer><think>\n\n</think>\n\n", "answer"),
        (OWN, "<user>what is <think>?<|end|><answer>", "open"),
        (OWN, "<answer><think>a</think>b<|end|><user>hi<|end|><answer>", "open"),
        (SPELT, "<user>hi<|end|><answer><think>\n", "thought"),
        (HARMONY, "<|start|>user<|message|>hi<|end|><|start|>assistant", "header"),
        (HARMONY, "<|start|>assistant<|channel|>final<|message|>I", "answer"),
    ],
)
def test_where_a_response_goes_on(reader: Reader, prompt: str, part: str) -> None:
    assert reader.after(ids(reader, prompt)).part == part


def test_a_thought_that_the_prompt_opened() -> None:
    node = OWN.after(ids(OWN, "<|end|><think>\n"))
    assert OWN.parts(ids(OWN, "hm</think>Yes"), node) == Parts("Yes", "hm")
    assert OWN.parts(ids(OWN, "hm"), node) == Parts("", "hm")


@pytest.mark.parametrize("name", names_of_formats())
def test_what_leads_to_the_answer_does(name: str) -> None:
    """What has to be written in a part makes it the answer."""
    reader = Reader(tokenizer(), name)
    for part, text in (find(name).answering or {}).items():
        node = reader.marks.run(type(reader.marks.begin)(part), text.encode())
        assert reader.marks.kinds[node.part] == "answer"


def test_nothing_is_told_apart_of_a_model_that_marks_nothing() -> None:
    reader = Reader(tiny_tokenizer())
    assert reader.is_trivial
    assert reader.parts(ids(reader, "<think>x</think>y")) == Parts("<think>x</think>y")
    assert reader.of_answer(reader.marks.begin, [5, 6]) == [True, True]


pieces = st.sampled_from(
    ["<think>", "</think>", "<tool_call>", "</tool_call>", "<think", "</thi", ">", "<", " ", "\n", "ü", "hm"]
)
texts = st.lists(pieces | st.text(max_size=3), max_size=12).map("".join)


@pytest.mark.parametrize("reader", [SPELT, OWN, HARMONY], ids=["spelt", "own", "harmony"])
@given(texts)
def test_what_is_told_apart_early_stays(reader: Reader, text: str) -> None:
    """Read token by token, an answer only grows, into that of the whole."""
    tokens = ids(reader, text)
    whole = reader.parts(tokens).answer
    *early, last = reader.answers(reader.marks.begin, iter(tokens))
    assert len(early) == len(tokens)
    assert all(whole.startswith(answer.rstrip("\ufffd")) for answer in early)
    assert last == whole


@pytest.mark.parametrize("reader", [SPELT, OWN], ids=["spelt", "own"])
@given(texts, texts)
def test_thought_and_answer_come_back(reader: Reader, thought: str, answer: str) -> None:
    thought = thought.replace("</think>", "").replace("<tool_call>", "")
    answer = answer.replace("<tool_call>", "")
    if "</think>" in thought + "</think>"[:-1] or "<tool_call>" in answer:
        return  # put together anew by what was taken out
    if any(token in f"{thought} {answer}" for token in ("<pad>", "<s>", "</s>", "<|end|>")):
        return  # tokens of the tokenizer's own, which are no text
    found = reader.parts(ids(reader, f"<think>{thought}</think>{answer}"))
    assert found == Parts(answer.lstrip(), thought.strip())


@pytest.mark.parametrize("reader", [SPELT, OWN, HARMONY], ids=["spelt", "own", "harmony"])
@given(st.lists(st.tuples(texts, st.booleans()), min_size=1, max_size=3))
def test_tensors_are_followed_as_tokens_are(reader: Reader, rows: Sequence[tuple[str, bool]]) -> None:
    table = reader.table
    tokens, before, first, expected = [], [], [], []
    for text, in_answer in rows:
        node = type(reader.marks.begin)("answer") if in_answer else reader.marks.begin
        row = ids(reader, text + ".")
        expected += reader.of_answer(node, row)
        tokens += row
        before += [table.nodes[node]] * len(row)
        first += [place == 0 for place in range(len(row))]
    nodes = table.follow(torch.tensor(tokens), torch.tensor(before), torch.tensor(first), len(tokens))
    assert table.is_answer[nodes].tolist() == expected


def test_tokens_outside_the_vocabulary_are_without_text() -> None:
    table = OWN.table
    begin = torch.tensor([table.nodes[OWN.marks.begin]])
    for token in (-1, len(OWN.pieces), 10**9):
        node = table.follow(torch.tensor([token]), begin, torch.tensor([True]), 1)
        assert torch.equal(node, begin)
