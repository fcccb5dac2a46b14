from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.fakes import FakeEngine
from transformers import GenerationConfig

from trimtab.errors import TrimtabError
from trimtab.evaluate.cache import ContentCache, default_folder, model_key


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_put_is_got_by_the_same_content(tmp_path: Path, kept: bool) -> None:
    cache = ContentCache(tmp_path / "answers" if kept else None)
    key = {"prompt": "Grüße \ud83d\ude00", "settings": {"b": 1, "a": [1.5, None]}}
    assert cache.get(key) is None
    cache.put(key, {"text": "line\u2028end"})
    assert cache.get({"settings": {"a": [1.5, None], "b": 1}, "prompt": "Grüße \ud83d\ude00"}) == {
        "text": "line\u2028end"
    }
    assert cache.get({**key, "prompt": "other"}) is None
    assert (ContentCache(tmp_path / "answers").get(key) is not None) == kept


@given(st.text(), st.text())
def test_any_text_can_be_key_and_value(prompt: str, text: str) -> None:
    cache = ContentCache()
    cache.put({"prompt": prompt}, [text])
    assert cache.get({"prompt": prompt}) == [text]


def test_half_a_surrogate_pair_can_be_kept(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    cache.put({"prompt": "\ud800"}, "\udc00")
    assert cache.get({"prompt": "\ud800"}) == "\udc00"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": {}, "value": 1}', "\x00"])
def test_a_damaged_entry_is_none_and_can_be_replaced(tmp_path: Path, damage: str) -> None:
    cache = ContentCache(tmp_path)
    cache.put({"a": 1}, "good")
    (entry,) = tmp_path.rglob("*.json")
    entry.write_text(damage, encoding="utf-8")
    assert cache.get({"a": 1}) is None
    cache.put({"a": 1}, "again")
    assert cache.get({"a": 1}) == "again"


def test_a_writer_that_dies_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ContentCache(tmp_path)

    def killed(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", killed)
        with pytest.raises(KeyboardInterrupt):
            cache.put({"a": 1}, "x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert cache.get({"a": 1}) is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TrimtabError, match="cannot write the cache"):
        ContentCache(tmp_path / "file").put({"a": 1}, "x")


def test_models_of_one_name_and_other_weights_are_told_apart() -> None:
    one, same, other = (FakeEngine() for _ in range(3))
    for engine, value in ((one, 1.0), (same, 1.0), (other, 1.01)):
        engine.model = torch.nn.Linear(40, 60)  # type: ignore[attr-defined]
        torch.nn.init.constant_(engine.model.weight, value)  # type: ignore[attr-defined]
        torch.nn.init.zeros_(engine.model.bias)  # type: ignore[attr-defined]
    assert one.identity == other.identity
    assert model_key(one) == model_key(same)
    assert model_key(one) != model_key(other)
    one.model.register_buffer("scale", torch.ones(3))  # type: ignore[attr-defined]
    same.model.register_buffer("scale", torch.zeros(3))  # type: ignore[attr-defined]
    assert model_key(one) != model_key(same)
    json.dumps(model_key(one))


def test_models_that_generate_otherwise_are_told_apart() -> None:
    one, other = FakeEngine(), FakeEngine()
    for engine, penalty in ((one, 1.0), (other, 1.3)):
        engine.model = torch.nn.Linear(1, 1)  # type: ignore[attr-defined]
        torch.nn.init.ones_(engine.model.weight)  # type: ignore[attr-defined]
        torch.nn.init.zeros_(engine.model.bias)  # type: ignore[attr-defined]
        engine.model.generation_config = GenerationConfig(repetition_penalty=penalty)  # type: ignore[attr-defined]
    assert model_key(one) != model_key(other)
    json.dumps(model_key(one))


def test_the_default_folder_follows_the_users_wish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRIMTAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "trimtab" / "answers"
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own" / "answers"


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        TrimtabError, match=r"cannot write the cache .*file.*choose another folder \(`cache`\)"
    ):
        ContentCache(tmp_path / "file" / "answers").make_folder()
    ContentCache(tmp_path / "a" / "b").make_folder()
    assert (tmp_path / "a" / "b").is_dir()
    ContentCache().make_folder()
