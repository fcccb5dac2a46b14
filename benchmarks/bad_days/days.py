"""Days: a command on a machine that lacks something, and what must come of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bad_days.process import Done, run, spawn, start, stopped

GENERATE = ["generate", "Why?", "--max-new-tokens", "8"]
LEARN = [
    "learn",
    "lowercase",
    "--method",
    "mean_difference",
    "--pairs",
    "8",
    "--block",
    "2",
    "--strength",
    "1",
]
EVALUATE = [
    *("evaluate", "--suite", "nano", "--instructions", "lowercase", "--limit", "2", "--max-new-tokens", "8"),
    *("--conditions", "baseline"),
]
PROMPTS = ["Why?", "Where?", "Who?"]


@dataclass(frozen=True)
class Day:
    """One command on one machine.

    Attributes:
        name: What a table calls it.
        arguments: Those of the command; `{out}` is a place to write to.
        codes: How it may end.
        prepare: Called on the empty folder before.
        judge: What else is wrong after it; None for nothing.
        options: Those of `process.start`.
    """

    name: str
    arguments: list[str]
    codes: tuple[int, ...] = (0,)
    prepare: Callable[[Path], Any] = field(default=lambda folder: None)
    judge: Callable[[Path, Done], str | None] = field(default=lambda folder, done: None)
    options: dict[str, Any] = field(default_factory=dict)


def tried(day: Day, folder: Path) -> str | None:
    """Runs the command of a day in an empty folder; what was wrong, or None."""
    folder.mkdir(parents=True)
    try:
        day.prepare(folder)
        environment = {"XDG_CACHE_HOME": str(folder / "cache"), **day.options.get("environment", {})}
        done = run(day.arguments, folder, **{**day.options, "environment": environment})
        return done.wrong(*day.codes) or day.judge(folder, done) or left_over(folder)
    finally:
        _remove(folder)


def left_over(folder: Path) -> str | None:
    """Files that a command which ended by itself has not cleared away."""
    found = [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
    return f"left behind: {found[:3]}" if found else None


def _remove(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


# --- judges -----------------------------------------------------------------------------------------------------------


def absent_or_whole(folder: Path, done: Done) -> str | None:
    """There is a whole steering, or none where the command did not succeed."""
    from trimtab import Steering
    from trimtab.errors import SteeringError

    place = folder / "out"
    if not (place / "steering.json").exists():
        return "it says that all went well, and there is no steering" if done.code == 0 else None
    try:
        Steering.load(place)
    except SteeringError as error:
        return f"what it left cannot be read: {error}"
    return None


def answered(folder: Path, done: Done) -> str | None:
    """Something was answered where the command succeeded."""
    return None if done.code or done.out.strip() else "it prints nothing and exits with 0"


def json_there(folder: Path, done: Done) -> str | None:
    """The JSON is whole."""
    try:
        json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError) as error:
        return f"the JSON is lost: {error}"
    return None


def no_json_half(folder: Path, done: Done) -> str | None:
    """The JSON is whole, or not there."""
    path = folder / "result.json"
    return json_there(folder, done) if path.exists() else None


# --- several at once, signals, and other locales ----------------------------------------------------------------------


def at_once(folder: Path) -> str | None:
    """Two processes learn the same into one folder: both may succeed, and what lies there is whole."""
    folder.mkdir(parents=True)
    try:
        both = [start([*LEARN, "--out", "out"], folder) for _ in range(2)]
        for one in both:
            done = one.ended()
            if wrong := done.wrong(0, 2):
                return wrong
        return absent_or_whole(folder, Done(0, "", "")) or left_over(folder)
    finally:
        _remove(folder)


_WHOLE = [*LEARN, "--out", "out", "--json", "result.json"]


def seconds_of(folder: Path) -> float:
    """How long learning takes in a new process, from its first import to its end."""
    folder.mkdir(parents=True)
    begun = spawn(_WHOLE, folder)
    began = time.monotonic()
    done = begun.ended()
    _remove(folder)
    if done.code:
        raise RuntimeError(done.err)
    return time.monotonic() - began


def interrupted(number: int, seconds: float, folder: Path) -> str | None:
    """A signal at some moment: no traceback, nothing half-written, and the exit code that the shell expects."""
    folder.mkdir(parents=True)
    try:
        done = stopped(spawn(_WHOLE, folder), number, seconds)
        codes = (0, -number, 128 + number)  # a shell reads the latter of both
        return done.wrong(*codes) or absent_or_whole(folder, Done(1, "", "")) or no_json_half(folder, done)
    finally:
        _remove(folder)


LOCALES: tuple[dict[str, str], ...] = (
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "utf-16"},
    {"LC_ALL": "xx_YY.nothing"},
    {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "1"},
    {"COLUMNS": "nonsense", "TERM": ""},
    {"FORCE_COLOR": "1", "COLUMNS": "20"},
)


def in_locale(environment: dict[str, str], folder: Path) -> str | None:
    """A whole new process, since Python reads its locale at the start: prompts of other scripts, in and out."""
    folder.mkdir(parents=True)
    try:
        (folder / "Größe 火箭.txt").write_text("Was ist die Größe? 火箭 🚀\n", encoding="utf-8")
        arguments = ["generate", "--prompts", "Größe 火箭.txt", "--max-new-tokens", "4", "--json", "-"]
        command = [sys.executable, "-m", "trimtab", *arguments]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False
        )
        err = done.stderr.decode("utf-8", "replace")
        if wrong := Done(done.returncode, "", err).wrong(0):
            return wrong
        encoding = "utf-16" if environment.get("PYTHONIOENCODING") == "utf-16" else "utf-8"
        try:
            found = json.loads(done.stdout.decode(encoding))
        except ValueError as error:
            return f"--json - gives no JSON: {error}"
        said = found["responses"][0]["prompt"]
        return None if said == "Was ist die Größe? 火箭 🚀" else f"another prompt: {said!r}"
    finally:
        _remove(folder)
