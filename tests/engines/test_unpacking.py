from __future__ import annotations

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


def test_what_is_on_the_hub_is_refused() -> None:
    with pytest.raises(ModelError, match=r"owner/name/file.gguf is a GGUF file on the Hub"):
        unpacking.unpacked(source_of("owner/name/file.gguf"))


def test_a_cache_that_cannot_be_is_named(tmp_path: Path, cache: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf")
    cache.write_text("")
    with pytest.raises(
        ModelError, match=r"tiny.gguf can't be written out .*; name another place: TRIMTAB_CACHE"
    ):
        unpacking.unpacked(source_of(file))
