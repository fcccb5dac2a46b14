"""What is published: what the wheel and the sdist hold, and that the wheel alone runs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import pytest
from tests.package.environments import ROOT, Environment

import trimtab

pytestmark = pytest.mark.slow
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NANO = [f"trimtab/nano/weights/{name}/model.safetensors" for name in ("nano-instruct", "nano-base")]


def test_the_wheel_holds_the_package_with_nano_and_nothing_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        sizes = {one.filename: one.file_size for one in wheel.infolist()}
        about = Parser().parsestr(
            wheel.read(f"trimtab-{trimtab.__version__}.dist-info/METADATA").decode("utf-8")
        )
    assert {name.split("/")[0] for name in sizes} == {"trimtab", f"trimtab-{trimtab.__version__}.dist-info"}
    sources = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "trimtab").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in sizes if name.startswith("trimtab/")} == sources
    assert all(sizes[name] > 8_000_000 for name in NANO)
    # The text that nano was trained on is made by its recipe: nothing large is there beside its weights.
    assert max(size for name, size in sizes.items() if name not in NANO) < 500_000
    assert built["wheel"].stat().st_size < 20_000_000
    assert set(about["Requires-Python"].split(",")) == set(PROJECT["requires-python"].split(","))
    assert about["License-Expression"] == "Apache-2.0"
    assert set(about.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


def test_the_sdist_holds_what_git_has(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"src/{name}" for name in NANO} < names
    assert {"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CITATION.cff", "pyproject.toml"} < names
    assert {"Makefile", "constraints.txt", "docs/index.md", "tests/package/test_wheel.py"} < names
    assert not [
        name
        for name in names
        if name.startswith((".venv", ".ci", "site/", "build/", "dist/", "nano-training"))
    ]
    assert built["sdist"].stat().st_size < 20_000_000


def test_twine_finds_nothing(built: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_runs_without_a_clone(
    built: dict[str, Path], environment: Callable[[], Environment], tmp_path: Path
) -> None:
    clean = environment()
    # With its dependencies, which are all there: one that pyproject.toml lacks would fail elsewhere, one that is not
    # installed here fails now.
    done = clean.run("python", "-m", "pip", "install", "--quiet", str(built["wheel"]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys, trimtab; print(trimtab.__file__, *sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = clean.run("python", "-W", "error", "-c", code, cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(clean.folder), done.stdout + done.stderr
    for command in (["trimtab"], ["python", "-m", "trimtab"]):
        done = clean.run(*command, "--version", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"trimtab {trimtab.__version__}\n")
    done = clean.run(
        "trimtab", "generate", "--max-new-tokens", "8", "Tell me about Harrowmere.", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
