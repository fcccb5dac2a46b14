"""A tiny random chat model on disk, a steering for it, and a way to run commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from trimtab.cli.app import app
from trimtab.engines.base import Engine
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

WORDS = "what is a the river city name of and say it in one two words . , ? ! who where tell me about".split()
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of three random blocks of width 16 over a few dozen words, saved like any model of the Hub."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<pad>", "<end>", "<unk>", "<user>", "<assistant>", *WORDS]
    backend = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def engine(model_folder: Path) -> Engine:
    import trimtab

    return trimtab.load(str(model_folder), device="cpu")


@pytest.fixture
def steering_folder(engine: Engine, tmp_path: Path) -> Path:
    """A strong hand-made steering for the tiny model, in the folder `shout`."""
    direction = torch.linspace(-1, 1, engine.identity.width)
    edits = (Edit.add(1, direction, 40.0), Edit.set_projection(2, direction, 3.0))
    record = Record(engine.identity, instructions=({"name": "uppercase", "params": {}},), method="manual")
    return Steering("shout", edits, record).save(tmp_path / "shout")


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run a command as the shell would; gives exit code, standard output and standard error."""

    def invoke(*arguments: object, input: str | bytes | None = None) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)

    return invoke
