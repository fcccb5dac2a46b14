"""Formats by name, from other packages too; and what is told from a file's content."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.formats.damage import model

from trimtab import formats, plugins
from trimtab.errors import SteeringError
from trimtab.formats import Content, Format, registry
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering


def recognises(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[:4] == b"ONES"


def read(path: Path, model: Any, *, times: float = 1.0) -> Content:
    return Content(
        (Edit.add(int(path.read_text()[4:]), torch.ones(model.width), times),), notes=("all ones",)
    )


def write(steering: Steering, path: Path) -> str:
    path.write_text(f"ONES{steering.blocks[0]}")
    return "ones --read it"


ONES = Format("ones", "Ones.", recognises, read, write)


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    points: list[EntryPoint] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: [one for one in points if one.group == group])
    monkeypatch.setattr(registry, "_registered", {})
    return points


def test_a_format_of_another_package_is_found_by_name_and_by_content(
    offered: list[EntryPoint], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = ModuleType("ones_format")
    module.ONES = ONES  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ones_format", module)
    offered.append(EntryPoint("ones", "ones_format:ONES", registry.ENTRY_POINT_GROUP))
    mine = Steering("mine", (Edit.add(1, torch.ones(16)),), Record(model()))
    assert formats.write(mine, tmp_path / "x", "ones") == "ones --read it"
    again = formats.read(tmp_path / "x", model(), name="again", options={"times": 3.0})
    assert (again.name, again.blocks, again.edits[0].alpha) == ("again", (1,), 3.0)
    settings = again.record.settings
    assert (settings["format"], settings["times"], settings["notes"]) == ("ones", 3.0, ["all ones"])
    with pytest.raises(SteeringError, match="to read ones there is no option 'often'; it takes times"):
        formats.read(tmp_path / "x", model(), options={"often": 1})
    with pytest.raises(SteeringError, match="to write ones there is no option 'times'; it takes none"):
        formats.write(mine, tmp_path / "x", "ones", options={"times": 1})


def test_a_format_that_is_registered_and_a_name_that_is_taken() -> None:
    formats.register(ONES)
    assert formats.find("ones") is ONES
    with pytest.raises(SteeringError, match="there is a format 'ones' already"):
        formats.register(ONES)
    with pytest.raises(SteeringError, match="did you mean gguf"):
        formats.find("ggfu")
    with pytest.raises(SteeringError, match="there is no format 'flac'; there are gguf"):
        formats.find("flac")


def test_a_plugin_that_fails_is_left_out_with_a_warning(offered: list[EntryPoint]) -> None:
    offered.append(EntryPoint("broken", "no_such_module:FORMAT", registry.ENTRY_POINT_GROUP))
    offered.append(EntryPoint("wrong", "pathlib:Path", registry.ENTRY_POINT_GROUP))
    with pytest.warns(UserWarning, match="'(broken|wrong)'.*failed") as warned:
        names = [one.name for one in formats.formats()]
    assert len(warned) == 2
    assert "gguf" in names


def test_what_is_of_no_known_format_is_said(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SteeringError, match="of no format that is known; name it with --format: gguf"):
        formats.read(tmp_path / "text", model())
    with pytest.raises(SteeringError, match="there is no file"):
        formats.recognised(tmp_path / "missing")
