"""The page of the house is that of the contract, and the contract is kept."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house() -> Any:
    spec = importlib.util.spec_from_file_location("house_page", ROOT / "docs" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_and_its_picture_show_the_contract(house: Any) -> None:
    page = house.PAGE.read_text(encoding="utf-8")
    assert house.render(page) == page, "run: python docs/house.py"
    assert house.picture() == house.PICTURE.read_text(encoding="utf-8"), "run: python docs/house.py"
    there = {path.stem for path in (ROOT / "src" / "trimtab").iterdir() if path.suffix == ".py"}
    there |= {path.parent.name for path in (ROOT / "src" / "trimtab").glob("*/__init__.py")}
    shown = {name for floor in house.floors() for name in floor}
    assert shown == there - {"__init__", "__main__", "_version"}
    assert {name for names in house.GROUPS.values() for name in names} == shown


def contract(folder: Path) -> subprocess.CompletedProcess[str]:
    # Not by name: another trimtab may be installed.
    code = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", code, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_who_imports_upward_is_named(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    for name in ("pyproject.toml", "src"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    kept = contract(tmp_path)
    assert kept.returncode == 0, kept.stdout
    with (tmp_path / "src" / "trimtab" / "steering" / "edits.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef _climb() -> None:\n    import trimtab.engines.base  # noqa: F401\n")
    broken = contract(tmp_path)
    assert broken.returncode == 1
    assert "trimtab.steering is not allowed to import trimtab.engines" in broken.stdout


def test_a_new_room_must_be_given_a_floor(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    sources = Path(shutil.copytree(ROOT / "src", tmp_path / "src"))
    (sources / "trimtab" / "somewhere.py").touch()
    found = contract(tmp_path)
    assert found.returncode == 1
    assert "trimtab.somewhere" in found.stdout
