"""Engines by name: those of other packages are found by their entry points."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.tiny import PROMPTS, tiny_engine

import trimtab
from trimtab.engines import names_of_engines, register, registry
from trimtab.errors import ModelError


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """What installed packages declare; a test adds to it."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [one for one in points if one.group == group])
    monkeypatch.setattr(registry, "_registered", {})
    return points


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, offered: list[EntryPoint]) -> ModuleType:
    """A package of somebody else's, with an engine `slow`."""
    module = ModuleType("slow_engine")

    class SlowEngine(type(tiny_engine())):  # type: ignore[misc]
        def __init__(self, model: Any, *, dtype: Any = None, patience: int = 1) -> None:
            other = tiny_engine()
            super().__init__(other.model, other.tokenizer, model_id=str(model))
            self.patience = patience

    module.SlowEngine = SlowEngine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slow_engine", module)
    offered.append(EntryPoint("slow", "slow_engine:SlowEngine", registry.ENTRY_POINT_GROUP))
    return module


def test_an_engine_of_another_package_is_loaded_by_its_name(package: ModuleType) -> None:
    assert names_of_engines() == ["transformers", "slow"]
    with trimtab.load("a-model", engine="slow", patience=3) as engine:
        assert isinstance(engine, package.SlowEngine)
        assert (engine.identity.id, engine.patience) == ("a-model", 3)
        assert engine.generate(PROMPTS, max_new_tokens=2)
    with pytest.raises(ModelError, match="no option hurry for the slow engine, which takes dtype, patience"):
        trimtab.load("a-model", engine="slow", hurry=1)


def test_an_engine_that_is_registered(package: ModuleType) -> None:
    register("mine", package.SlowEngine)
    assert names_of_engines() == ["transformers", "slow", "mine"]
    assert trimtab.load("a-model", engine="mine").identity.id == "a-model"
    for taken in ("mine", "slow", "transformers"):
        with pytest.raises(ModelError, match=f"there is an engine '{taken}' already"):
            register(taken, package.SlowEngine)


def test_the_default_engine_is_never_another(offered: list[EntryPoint]) -> None:
    offered.append(EntryPoint("transformers", "no_such_module:Engine", registry.ENTRY_POINT_GROUP))
    assert trimtab.load("nano", device="cpu").generate(["Name a planet."], max_new_tokens=1)


def test_an_engine_that_is_not_there(offered: list[EntryPoint]) -> None:
    with pytest.raises(ModelError, match="there is no engine 'fast'; there are transformers"):
        trimtab.load("nano", engine="fast")
    offered.append(EntryPoint("broken", "no_such_module:Engine", registry.ENTRY_POINT_GROUP))
    with pytest.raises(
        ModelError, match=r"'broken' \(no_such_module:Engine\) cannot be loaded: No module named"
    ):
        trimtab.load("nano", engine="broken")


def test_trimtab_declares_the_engine_over_vllm() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [(name, value)] = project["entry-points"][registry.ENTRY_POINT_GROUP].items()
    assert name == "vllm"
    assert EntryPoint(name, value, registry.ENTRY_POINT_GROUP).load() is trimtab.VllmEngine
