from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, tokens_of
from tests.tiny_gguf import tiny_gguf

from trimtab.engines import loading, unpacking
from trimtab.engines.loading import load
from trimtab.engines.names import Source, source_of
from trimtab.errors import ModelError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_no_gguf_file_stays_as_it_is() -> None:
    source = source_of("nano")
    assert unpacking.unpacked(source) is source


def test_a_file_becomes_a_folder_with_the_same_model_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf")
    source = unpacking.unpacked(source_of(file))
    assert capfd.readouterr().err == ""
    assert source == Source(source.place, "tiny.gguf")
    assert Path(source.place).is_relative_to(cache)
    expected, found = (load(one, device="cpu", dtype=torch.bfloat16) for one in (file, source.place))
    assert found.identity.id == expected.identity.id == "tiny.gguf"
    assert found.identity.chat_template == expected.identity.chat_template
    answers = [tokens_of(engine.generate(PROMPTS, max_new_tokens=6)) for engine in (found, expected)]
    assert answers[0] == answers[1]

    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError("it was unpacked again")

    monkeypatch.setattr(loading, "load_transformers", never)
    assert unpacking.unpacked(source_of(file)) == source
    assert [path.name for path in Path(source.place).parent.iterdir() if path.name != "lock"] == ["tiny.gguf"]


def test_it_is_known_as_the_file_is(tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf")
    ours, theirs = load(file, device="cpu"), load(unpacking.unpacked(source_of(file)).place, device="cpu")
    assert theirs.identity == ours.identity
    assert theirs.identity.weights == ours.identity.weights


def test_one_of_the_hub_is_called_as_there(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--someone--model" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    found = unpacking.unpacked(source_of(tiny_gguf(snapshot / "tiny.gguf")))
    assert found.model_id == source_of(found.place).model_id == "someone/model/tiny.gguf"


def test_the_folder_says_where_answers_end(tmp_path: Path) -> None:
    """A server that reads it knows neither tokenizer nor template when it looks for an end."""
    found = unpacking.unpacked(source_of(tiny_gguf(tmp_path / "tiny.gguf")))
    settings = json.loads((Path(found.place) / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [3, 2]


def test_there_is_one_for_each_dtype(tmp_path: Path) -> None:
    source = source_of(tiny_gguf(tmp_path / "tiny.gguf"))
    found = [unpacking.unpacked(source, dtype).place for dtype in (torch.float32, "bfloat16")]
    kinds = [json.loads((Path(place) / "config.json").read_text())["dtype"] for place in found]
    assert kinds == ["float32", "bfloat16"]


def test_a_cache_that_cannot_be_is_named(tmp_path: Path, cache: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf")
    cache.write_text("")
    with pytest.raises(
        ModelError, match=r"tiny.gguf can't be written out .*; name another place: TRIMTAB_CACHE"
    ):
        unpacking.unpacked(source_of(file))
