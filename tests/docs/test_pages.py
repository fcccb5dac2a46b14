"""The documentation does what it says: its Python and console blocks run, and its tables are those of the commands.

`python` blocks of a page share one namespace, `console` blocks run every `$ trimtab ...` line, both in an empty folder
of the page's own; a block with a title is a file that lies there. Output below a command is compared where it is
shown (`...` stands for anything). `sh` blocks need a network, a large model or minutes, and are not run.
"""

from __future__ import annotations

import doctest
import importlib.util
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from trimtab import instructions
from trimtab.cli.app import app
from trimtab.instructions.registry import REGISTER

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w+)?([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
KNOWN = {"python", "console", "sh", "text", "json", "toml"}
ON_VLLM = {"vllm-engine.md"}
"""Pages whose blocks need vLLM, which has an environment of its own: tests/on_vllm/test_docs.py runs them there."""

NEEDED = {"frameworks.md": ("outlines", "nnsight")}
"""Packages that pages need and that only some environments have: the extra `test` has them."""
LEFT_OUT = ("xgrammar", "transformer_lens")
"""Packages that no environment of ours has, since they bring too much: blocks with these run where there are some."""
AT_A_SERVER = "http://127.0.0.1:8000"
"""A Python block with this address needs a server: tests/server/test_frameworks_page.py runs it with one."""


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, language, rest, body = match.groups()
        title = re.search(r'title="([^"]+)"', rest)
        lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
        number = text.count("\n", 0, match.start()) + 2
        found.append(Block(language or "", title[1] if title else None, "".join(lines), number))
    return found


def commands(block: Block) -> list[tuple[str, str]]:
    """The `$` lines of a console block, each with the output shown below it."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].strip(), ""))
        else:
            command, shown = found[-1]
            found[-1] = (command, shown + line)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_known_kind(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= KNOWN
    for block in blocks(page):
        if block.language == "console":
            assert all(command.startswith("trimtab ") for command, _ in commands(block))


@pytest.fixture
def catalogue_as_it_was() -> Iterator[None]:
    """Instructions that a page defines are forgotten after it."""
    before = set(instructions.names())
    yield
    for name in set(instructions.names()) - before:
        REGISTER.remove(name)


@pytest.mark.usefixtures("catalogue_as_it_was")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ON_VLLM], ids=lambda page: page.name
)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # nnsight puts a function of its own in this place for the whole process, which pages with gradients can't bear.
    monkeypatch.setattr(torch.Tensor, "backward", torch.Tensor.backward)
    for package in NEEDED.get(page.name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


def run_blocks(page: Path) -> None:
    """Runs a page in the current folder, and compares what it shows."""
    found = blocks(page)
    for block in found:
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
    namespace: dict[str, object] = {"__name__": page.stem}
    missing = [name for name in LEFT_OUT if importlib.util.find_spec(name) is None]
    for block in found:
        if any(re.search(rf"^(import|from) {name}\b", block.text, re.MULTILINE) for name in missing):
            continue
        if block.language == "python" and not block.title and AT_A_SERVER not in block.text:
            code = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
            exec(compile(code, str(page), "exec"), namespace)
        elif block.language == "console":
            for command, shown in commands(block):
                result = CliRunner().invoke(app, shlex.split(command)[1:])
                assert result.exit_code == 0, f"{page.name}:{block.line}: {command}\n{result.output}"
                same = doctest.OutputChecker().check_output(shown, result.stdout, doctest.ELLIPSIS)
                assert not shown or same, f"{page.name}:{block.line}: {command}\n{result.stdout}"


def test_the_option_tables_are_those_of_the_commands() -> None:
    script = ROOT / "docs" / "options.py"
    spec = importlib.util.spec_from_file_location("options", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert module.render(page) == page, "run: python docs/options.py"
    assert set(re.findall(r"<!-- options (\w+) -->", page)) == {
        command.name for command in app.registered_commands
    }


def test_every_page_is_in_the_navigation() -> None:
    def pages(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            if isinstance(entry, str):
                yield entry
            else:
                for below in entry.values():
                    yield from pages(below if isinstance(below, list) else [below])

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    there = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages(navigation)) == sorted(path.as_posix() for path in there)


def test_the_readme_can_be_read_at_a_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_rows_that_help_to_choose_are_those_of_the_benchmark() -> None:
    chosen, whole = (
        (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("choosing.md", "benchmarks.md")
    )
    table = re.search(r"<!-- rows of benchmarks.md -->\n(.*?)<!-- end -->", chosen, re.DOTALL)
    assert table is not None
    rows = table[1].splitlines()
    assert len(rows) > 8
    assert set(rows) <= set(whole.splitlines())


def test_every_file_that_the_page_for_researchers_names_is_there() -> None:
    page = (ROOT / "docs" / "researchers.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+/[\w/]+(?:\.py|/))`", page))
    assert len(named) > 12
    for name in named:
        assert (ROOT / "src" / "trimtab" / name).exists(), name
    for module in set(re.findall(r"python -m (benchmarks[\w.]*)", page)):
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.slow
def test_the_documentation_builds_strictly_and_the_reference_has_the_public_names(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "reference" / "index.html").read_text(encoding="utf-8")
    for name in (
        "load",
        "on",
        "follow",
        "compose",
        "transfer",
        "Steering",
        "Edit",
        "Engine",
        "learn.distill",
    ):
        assert re.search(rf">\s*trimtab\.{name}\s*<", page), name


def test_every_name_that_the_page_on_python_lists_is_there() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(trimtab(?:\.\w+)+)", page, re.MULTILINE))
    assert len(listed) > 15
    for name in listed:
        assert pkgutil.resolve_name(name) is not None, name
