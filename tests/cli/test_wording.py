"""Messages name options of the command line, and obey nothing that a shared file says to a terminal."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.cli.output import Output
from trimtab.cli.wording import worded
from trimtab.errors import ModelError
from trimtab.steering.steering import Record, Steering


def test_arguments_of_functions_become_options() -> None:
    error = ModelError(
        "shorten the prompt or lower max_new_tokens; say do_sample=True (`moved_to`, `allow_other_model`)"
    )
    assert worded(error) == "shorten the prompt or lower --max-new-tokens; say --sample (trimtab transfer)"
    assert (
        worded(ModelError("give it as --max_new_tokens, my_batch_size"))
        == "give it as --max_new_tokens, my_batch_size"
    )


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert worded(ModelError("a \x1b[2J b \x07")) == "a \\x1b[2J b \\x07"


def test_a_name_that_clears_the_screen_is_shown(run: Callable[..., Any], engine: Any, tmp_path: Path) -> None:
    folder = Steering("bad\x1b[2J\x07name", (), Record(engine.identity)).save(tmp_path / "bad")
    for arguments in (("inspect", folder), ("compose", folder, folder, "--out", tmp_path / "out")):
        result = run(*arguments)
        assert "\x1b" not in result.output
        assert "\x07" not in result.output
    assert "bad\\x1b[2J" in run("inspect", folder).stdout


def test_a_prompt_that_is_too_long(run: Callable[..., Any], model_folder: Path) -> None:
    result = run("generate", "what ?", "-m", model_folder, "--max-new-tokens", "1000")
    assert result.exit_code == 2
    assert "lower --max-new-tokens" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trimtab", "instructions", "--json", "-"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
    assert done.returncode == 2
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


@pytest.mark.skipif(os.name == "nt", reason="a shell closes it")
@pytest.mark.parametrize(
    "arguments", ["instructions --json -", "instructions", "--version", "check json --responses -"]
)
def test_standard_output_that_is_closed_is_one_line(arguments: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m trimtab {arguments} >&-'],
        input='{"response": "{}"}',
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "error: cannot write to standard output: Bad file descriptor\n"


@pytest.mark.skipif(os.name == "nt", reason="a shell closes it")
def test_a_command_that_says_nothing_needs_no_output(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m trimtab instructions --quiet --json "{tmp_path / "all.json"}" >&- 2>&-'
    assert subprocess.run(["sh", "-c", command]).returncode == 0
    assert (tmp_path / "all.json").stat().st_size > 1000


@pytest.mark.parametrize("command", ["generate", "follow", "learn", "inspect"])
def test_json_in_a_file_is_kept_where_nobody_sees_the_rest(
    run: Callable[..., Any],
    model_folder: Path,
    steering_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Output, "print", full)
    kept = tmp_path / "kept.json"
    model = ("-m", model_folder, "--json", kept)
    asked = {
        "generate": ("what ?", *model, "-s", steering_folder, "--compare", "--max-new-tokens", 2),
        "follow": ("what ?", *model, "-i", "no_commas", "--max-new-tokens", 2, "--budget", 1),
        "learn": (
            *("no_commas", *model, "--out", tmp_path / "out", "--method", "mean_difference", "--pairs", 8),
            *(
                "--block",
                1,
                "--strength",
                1,
                "--apply",
                "add",
                "--max-new-tokens",
                2,
                "--queries",
                tmp_path / "q.txt",
            ),
        ),
        "inspect": (steering_folder, "--json", kept),
    }[command]
    words = ("river", "city", "name", "one", "two", "words", "who", "where")
    (tmp_path / "q.txt").write_text("".join(f"{a} is the {b}\n" for a in words for b in words))
    result = run(command, *asked)
    assert isinstance(result.exception, OSError), result.output
    assert json.loads(kept.read_text())
