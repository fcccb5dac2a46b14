"""Directions between contrast examples: means of texts that are read by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.tiny import VOCABULARY, thinking_tokenizer, tiny_engine, tiny_model, tiny_tokenizer

from trimtab import instructions, learn
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import PromptError, SteeringError
from trimtab.instructions import Question, instruction
from trimtab.instructions.registry import REGISTER

FOLLOWS, FAILS = ("OH MY", "WHAT A DAY", "GO"), ("oh my", "what a day")


@pytest.fixture
def loud() -> Iterator[Any]:
    @instruction(phrasings=["Be loud."], judge=Question("Is it loud?", FOLLOWS, FAILS))
    def loud() -> None:
        """Is loud."""

    yield loud()
    REGISTER.remove("loud")


def test_the_direction_is_the_difference_of_mean_outputs_over_texts(loud: Any) -> None:
    engine = tiny_engine()
    found = learn.contrast(engine, (), loud)

    def mean(texts: tuple[str, ...], block: int) -> torch.Tensor:
        read = []
        for text in texts:
            ids = torch.tensor([engine.tokenizer(text)["input_ids"]])
            with torch.no_grad():
                outputs: list[Any] = []
                handle = engine.decoder_blocks.blocks[block].register_forward_hook(
                    lambda m, a, output, kept=outputs: kept.append(
                        output[0] if isinstance(output, tuple) else output
                    )
                )
                engine.model(ids)
                handle.remove()
            read.append(outputs[0].reshape(-1, engine.identity.width)[1:].mean(0))
        return torch.stack(read).mean(0)

    for block in range(engine.identity.blocks):
        difference = mean(FOLLOWS, block) - mean(FAILS, block)
        assert torch.allclose(found.directions[block] * found.difference_norm[block], difference, atol=1e-4)
    assert (found.method, found.name, found.pairs) == ("contrast", "loud", 2)
    assert found.settings == {"follows": 3, "fails": 2}
    assert found.instruction == loud.to_dict()
    steering = found.add(1, 2.0)
    assert steering.record.settings["application"] == "add"
    assert learn.contrast(engine, (), loud).digest() == found.digest()
    other = loud.type.question
    assert other is not None
    loud.type.question = Question(other.text, FOLLOWS, (*FAILS, "no"))
    assert learn.contrast(engine, (), loud).prompts != found.prompts


@pytest.mark.parametrize("wanted", ["json", None])
def test_an_instruction_without_contrast_examples_is_refused(wanted: str | None) -> None:
    with pytest.raises(SteeringError, match="no contrast examples to learn from"):
        learn.contrast(tiny_engine(), (), None if wanted is None else instructions.get(wanted))


@pytest.mark.parametrize(
    "begun",
    ["", "<think>\nhm, loud\n</think>\n\n", "hm, loud\n</think>\n\n"],
    ids=["bare", "marked", "opened"],
)
def test_an_example_is_read_as_an_answer_where_the_template_opens_a_thought(loud: Any, begun: str) -> None:
    """Whether it was copied with a thought, whose opening mark the template writes, or is the answer alone."""
    model = tiny_model("llama", vocab_size=VOCABULARY + 8)
    opened = TransformersEngine(model, thinking_tokenizer(), model_id="opened")
    assert opened.thoughts.after(opened.encoding.prompts(["hi"])[0]).part == "thought"
    plain = TransformersEngine(model, tiny_tokenizer(), model_id="opened")
    expected = learn.contrast(plain, (), loud)
    loud.type.question = Question("Is it loud?", tuple(begun + one for one in FOLLOWS), FAILS)
    found = learn.contrast(opened, (), loud)
    assert torch.equal(found.directions, expected.directions)
    assert torch.equal(found.instructed, expected.instructed)
    assert found.prompts == expected.prompts


def test_an_example_that_is_all_thought_is_refused(loud: Any) -> None:
    opened = TransformersEngine(
        tiny_model("llama", vocab_size=VOCABULARY + 8), thinking_tokenizer(), model_id="opened"
    )
    loud.type.question = Question("Is it loud?", ("<think>LOUD", "OH MY"), FAILS)
    with pytest.raises(PromptError, match="is a thought without an answer behind it"):
        learn.contrast(opened, (), loud)
