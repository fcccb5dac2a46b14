"""Instructions of other packages, through entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from trimtab import instructions, plugins
from trimtab.instructions import InstructionType, Phrasings, registry

SOURCE = """
from trimtab.instructions import instruction

@instruction(phrasings=["Say plugged.", "Write plugged.", "Use plugged."])
def plugged():
    \"\"\"Says plugged.\"\"\"
    return lambda response: "plugged" in response
"""


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that another package could ship; its code runs when the entry point is loaded."""
    module = ModuleType("a_plugin")
    monkeypatch.setitem(sys.modules, "a_plugin", module)
    before = set(instructions.names())
    yield module
    for name in set(instructions.names()) - before:
        registry.REGISTER.remove(name)


def offer(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint(f"p{n}", value, registry.ENTRY_POINT_GROUP) for n, value in enumerate(values)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in points if p.group == group])
    monkeypatch.setattr(registry, "_plugins_wanted", True)


def test_a_decorated_instruction_of_a_plugin_is_there(
    plugin: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    exec(SOURCE, plugin.__dict__)
    offer(monkeypatch, "a_plugin", "a_plugin:plugged")
    assert instructions.get("plugged").check("all plugged in")


def test_a_type_that_was_not_registered_is(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin.kind = InstructionType("bare", lambda: None, {"": Phrasings.divide(["Be bare."])})  # type: ignore[attr-defined]
    offer(monkeypatch, "a_plugin:kind")
    assert "bare" in instructions.names()
    assert instructions.get("bare").phrasings("test") == ["Be bare."]


@pytest.mark.usefixtures("plugin")
def test_a_broken_plugin_is_skipped_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "no_such_module", "a_plugin:missing")
    with pytest.warns(UserWarning, match="the instructions of plug-in 'p") as caught:
        assert "json" in instructions.names()
    assert len(caught) == 2
