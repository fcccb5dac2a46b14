from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, random_steering, tokens_of

from trimtab.constraint import Constraint
from trimtab.engines.constraining import allowed, unpacked
from trimtab.engines.vocabulary import readable_vocabulary
from trimtab.errors import InstructionError, ModelError, PromptError

LOWER = Constraint.regex("[a-z ]{3,12}[.]")


@pytest.fixture(scope="module")
def nano(engines: Any) -> Any:
    return engines("nano")


def chat(begun: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": begun}]


def test_answers_match_and_end_where_the_grammar_may_stop(nano: Any) -> None:
    for answer in nano.generate(PROMPTS, constraints=LOWER, max_new_tokens=40):
        assert re.fullmatch(LOWER.text, answer.text)
        assert answer.finished
        assert 0 < answer.taken < 1


def test_json_by_a_schema(nano: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "age": {"type": "integer", "maximum": 9}},
        "required": ["colour", "age"],
        "additionalProperties": False,
    }
    [answer] = nano.generate(["Colour?"], constraints=Constraint.json_schema(schema), max_new_tokens=60)
    assert json.loads(answer.text)["colour"] in ("red", "blue")


def test_nothing_is_taken_where_all_is_allowed(nano: Any) -> None:
    free = nano.generate(PROMPTS, max_new_tokens=30)
    held = nano.generate(PROMPTS, constraints=Constraint.regex("(?s).*"), max_new_tokens=30)
    assert tokens_of(held) == tokens_of(free)
    assert all(one.taken == pytest.approx(0, abs=1e-3) for one in held)
    assert all(one.taken is None for one in free)


def test_what_is_taken_is_what_the_model_gave_to_forbidden_tokens(nano: Any) -> None:
    [answer] = nano.generate(["Where?"], constraints=LOWER, max_new_tokens=40)
    ids = nano.encoding.prompts(["Where?"])[0]
    written = [*answer.token_ids, nano.special_tokens.ends[0]]
    with torch.no_grad():
        logits = nano.model(torch.tensor([ids + written])).logits[0, len(ids) - 1 : -1]
    may = unpacked(allowed(nano, LOWER, written), logits.shape[-1])
    away = logits.float().softmax(-1).masked_fill(may, 0).sum(-1)
    assert answer.taken == pytest.approx(float(away.mean()), abs=1e-4)
    assert logits.masked_fill(~may, -torch.inf).argmax(-1).tolist() == written


def test_every_sample_is_held(nano: Any) -> None:
    options = {"do_sample": True, "num_return_sequences": 3, "max_new_tokens": 40, "seed": 1}
    answers = nano.generate(PROMPTS, constraints=[LOWER, None, LOWER], **options)
    held = [one for one in answers if one.prompt_index != 1]
    assert all(re.fullmatch(LOWER.text, one.text) for one in held)
    assert len({one.text for one in held}) > 2
    assert all(one.taken is None for one in answers if one.prompt_index == 1)


def test_top_k_chooses_among_what_is_allowed(nano: Any) -> None:
    [answer] = nano.generate(
        ["Where?"], constraints=LOWER, do_sample=True, top_k=1, seed=0, max_new_tokens=40
    )
    assert re.fullmatch(LOWER.text, answer.text)


def test_without_a_cache_the_same(nano: Any) -> None:
    cached = nano.generate(PROMPTS, constraints=LOWER, max_new_tokens=30)
    assert tokens_of(nano.generate(PROMPTS, constraints=LOWER, max_new_tokens=30, use_cache=False)) == (
        tokens_of(cached)
    )


def test_a_stream_is_held(nano: Any) -> None:
    steering = random_steering(nano, 1)
    [whole] = nano.generate(["Where?"], steering=steering, constraints=LOWER, max_new_tokens=40)
    pieces = nano.stream("Where?", steering=steering, constraint=LOWER, max_new_tokens=40)
    assert "".join(pieces) == whole.text


def test_a_begun_answer_is_held_as_a_whole(nano: Any) -> None:
    [answer] = nano.generate([chat("in a")], constraints=LOWER, max_new_tokens=40)
    assert re.fullmatch(LOWER.text, "in a" + answer.text)


def test_a_beginning_that_breaks_the_constraint_is_refused(nano: Any) -> None:
    with pytest.raises(PromptError, match=r"'In A'.* breaks the constraint"):
        nano.generate([chat("In A")], constraints=LOWER)


def test_an_answer_that_is_cut_off_is_not_finished(nano: Any) -> None:
    [answer] = nano.generate(["Where?"], constraints=Constraint.regex("[a-z ]{300}"), max_new_tokens=5)
    assert not answer.finished
    assert len(answer.token_ids) == 5


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        ([LOWER], "1 constraints for 3 prompts"),
        ("json", "must be a list of constraints.*, not 'json'"),
        (Constraint.regex("[a"), r"\(regex\) cannot be used.*unclosed"),
        (Constraint.lark("start: NOTHING"), r"\(lark\) cannot be used.*NOTHING"),
        (Constraint("json_schema", '{"type": 3}'), r"\(json_schema\) cannot be used"),
    ],
)
def test_what_holds_nothing_is_refused(nano: Any, constraints: Any, words: str) -> None:
    with pytest.raises(InstructionError, match=words):
        nano.generate(PROMPTS, constraints=constraints)


def test_beams_are_refused(nano: Any) -> None:
    with pytest.raises(ModelError, match="beams cannot be held"):
        nano.generate(PROMPTS, constraints=[None, LOWER, None], num_beams=2)
    assert nano.generate(PROMPTS, constraints=[None] * 3, num_beams=2, max_new_tokens=3)


def test_a_model_without_an_end_is_refused(engines: Any) -> None:
    tokenizer = engines("llama").tokenizer
    with pytest.raises(ModelError, match="tiny has no token that ends an answer"):
        readable_vocabulary(tokenizer, [], 300, "tiny")


def test_without_llguidance_the_extra_is_named(nano: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.setattr(nano.matchers, "_vocabulary", None)
    with pytest.raises(ModelError, match=r"trimtab\[constraints\]"):
        nano.generate(PROMPTS, constraints=LOWER)


def test_all_ends_are_allowed_exactly_where_the_grammar_may_stop(nano: Any) -> None:
    from trimtab.engines.constraining import Matchers

    class Engine:
        matchers = Matchers(nano.tokenizer, (1, 2, 9), len(nano.tokenizer) + 40, "three ends")

    ids = nano.tokenizer("ab.", add_special_tokens=False)["input_ids"]
    may = unpacked(allowed(Engine(), Constraint.regex("ab[.]?"), ids), len(nano.tokenizer) + 40)
    assert may.shape == (len(ids), len(nano.tokenizer) + 40)
    assert not may[:, len(nano.tokenizer) :].any()
    assert may[:-1, [1, 2, 9]].sum() == 0
    assert may[-1, [1, 2, 9]].all()


def test_an_answer_that_leaves_its_constraint_has_no_masks(nano: Any) -> None:
    ids = nano.tokenizer("ab! x", add_special_tokens=False)["input_ids"]
    with pytest.raises(PromptError, match=r"token \d of the answer .* forbids"):
        allowed(nano, LOWER, ids)


def test_bits_are_unpacked_lowest_first() -> None:
    packed = torch.tensor([[1, -(2**31)], [-1, 0]], dtype=torch.int32)
    bools = unpacked(packed, 64)
    assert bools.dtype == torch.bool
    assert bools[0].nonzero().flatten().tolist() == [0, 63]
    assert bools[1].nonzero().flatten().tolist() == list(range(32))
    assert unpacked(packed, 3)[1].tolist() == [True] * 3
    assert unpacked(packed, 70).shape == (2, 70)


def test_a_tokenizer_of_python_is_read_by_the_bytes_of_its_tokens() -> None:
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    vocabulary = readable_vocabulary(tokenizer, [1], 400, "byt5")
    assert vocabulary.tokenize_str("été") == tokenizer("été", add_special_tokens=False)["input_ids"]
    assert vocabulary.vocab_size == 400
