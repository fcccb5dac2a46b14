"""Directions between contrast examples: means of texts that are read by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.tiny import tiny_engine

from trimtab import instructions, learn
from trimtab.errors import SteeringError
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
