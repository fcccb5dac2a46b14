"""Days: a command on a machine that lacks something, and what must come of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bad_days import process
from benchmarks.bad_days.process import Done, run, start, stopped

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


def _absent_or_whole(folder: Path, done: Done) -> str | None:
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


def _answered(folder: Path, done: Done) -> str | None:
    return None if done.code or done.out.strip() else "it prints nothing and exits with 0"


def _json_there(folder: Path, done: Done) -> str | None:
    try:
        json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError) as error:
        return f"the JSON is lost: {error}"
    return None


def _no_json_half(folder: Path, done: Done) -> str | None:
    path = folder / "result.json"
    return _json_there(folder, done) if path.exists() else None


# --- preparations -----------------------------------------------------------------------------------------------------


def _write_prompts(folder: Path, name: str = "prompts.txt") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(PROMPTS) + "\n")


def _read_only(folder: Path) -> None:
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0o555)


def _read_only_file(folder: Path) -> None:
    (folder / "closed").mkdir()
    (folder / "closed" / "result.json").write_text("{}")
    (folder / "closed").chmod(0o555)


_NAMES = (
    "two words",
    "Größe und Maß",
    "火箭 🚀",
    "ракета",
    "مرحبا",
    "a,b+c*2",
    "100%",
    'it\'s "quoted"',
    "[bold]x[-bold]",
    "new\nline",
    "tab\tstop",
    "~",
    "x" * 200,
)


def days() -> Iterator[Day]:
    """All days, a second or a few each."""
    for some in (_disks, _streams, _folders, _homes, _places, _paths, _memory, _models):
        yield from some()


def _disks() -> Iterator[Day]:
    to_json = [*GENERATE, "--json", "result.json"]
    for size in (0, 512, 2048):
        full: dict[str, Any] = {"first": process.disk_of(size)}
        name, may = f"full disk ({size} bytes left)", (0, 2) if size else (2,)
        yield Day(f"{name}: learn", [*LEARN, "--out", "out"], (2,), judge=_absent_or_whole, options=full)
        yield Day(f"{name}: generate --json", to_json, may, judge=_no_json_half, options=full)
        yield Day(f"{name}: evaluate", EVALUATE, may, options=full)


def _streams() -> Iterator[Day]:
    codes = {"full": (1, 2), "gone": (0, 1, 2, 141), "closed": (0, 2)}
    for name, stream in (("a full disk", "full"), ("a closed pipe", "gone"), ("closed", "closed")):
        out: dict[str, Any] = {"out": stream}
        for what in (GENERATE, [*GENERATE, "--json", "-"], ["instructions"]):
            shown = " ".join(word for word in what if word not in GENERATE[1:])
            yield Day(f"standard output is {name}: {shown}", what, codes[stream], options=out)
        err: dict[str, Any] = {"err": stream}
        yield Day(f"standard error is {name}: generate", GENERATE, (0,), judge=_answered, options=err)
    for name, given in (
        ("closed", None),
        ("empty", b""),
        ("no UTF-8", b"Gr\xfc\xdfe?"),
        ("UTF-16", b"\xff\xfeW\0"),
    ):
        yield Day(f"standard input is {name}: generate -", ["generate", "-"], (2,), options={"stdin": given})
        if given != b"":
            yield Day(
                f"standard input is {name}: check",
                ["check", "json", "--responses", "-"],
                (2,),
                options={"stdin": given},
            )


def _folders() -> Iterator[Day]:
    def day(name: str, *arguments: str, prepare: Callable[[Path], Any] = _read_only) -> Day:
        free = {"first": process.unprivileged}
        return Day(f"read-only folder: {name}", list(arguments), (2,), prepare, options=free)

    yield day("learn --out", *LEARN, "--out", "closed/out")
    yield day("--json", *GENERATE, "--json", "closed/r.json")
    yield day("--json over a file", *GENERATE, "--json", "closed/result.json", prepare=_read_only_file)
    yield day("--report", *EVALUATE, "--report", "closed/r.html")
    yield day("--cache", *EVALUATE, "--cache", "closed/cache")


_HOMES = {
    "no HOME": None,
    "an empty HOME": "",
    "a HOME that is not there": "/nonexistent/home",
    "a HOME that is a file": "/dev/null",
    "a HOME that cannot be written": "/proc",
}


def _homes() -> Iterator[Day]:
    for name, home in _HOMES.items():
        options = {
            "environment": {"HOME": home, "XDG_CACHE_HOME": None},
            "first": process.unprivileged,
        }
        yield Day(f"{name}: generate", GENERATE, judge=_answered, options=options)
        yield Day(f"{name}: evaluate", EVALUATE, (0, 2), judge=_names_cache, options=options)
        yield Day(f"{name}: evaluate --no-cache", [*EVALUATE, "--no-cache"], options=options)
        yield Day(f"{name}: doctor", ["doctor"], (0, 1), options=options)


def _places() -> Iterator[Day]:
    temporary = {"environment": {"TMPDIR": "/nonexistent"}}
    yield Day("no place for temporary files: generate", GENERATE, options=temporary)
    lost = {"first": _lose_folder}
    yield Day("the folder is gone: generate", GENERATE, options=lost)
    yield Day("the folder is gone: learn", [*LEARN, "--out", "out"], (2,), options=lost)
    yield Day("24 files at once: generate", GENERATE, (0, 2), options={"first": process.files_of(24)})


def _paths() -> Iterator[Day]:
    for name in _NAMES:
        said = f"a path named {name[:24]!r}"
        yield Day(
            f"{said}: learn --out",
            [*LEARN, "--out", f"./{name}/out", "--json", "result.json"],
            prepare=lambda folder, name=name: (folder / name).mkdir(),
            judge=lambda folder, done, name=name: (
                _absent_or_whole(folder / name, done) or _json_there(folder, done)
            ),
        )
        yield Day(
            f"{said}: generate --prompts",
            [
                "generate",
                "--prompts",
                f"./{name}/p.txt",
                "--max-new-tokens",
                "4",
                "--json",
                f"./{name}/result.json",
            ],
            prepare=lambda folder, name=name: _write_prompts(folder, f"{name}/p.txt"),
            judge=lambda folder, done, name=name: _json_there(folder / name, done),
        )


def _memory() -> Iterator[Day]:
    for megabytes in (0, 4, 16, 64):
        short: dict[str, Any] = {"first": process.memory_of(megabytes * 2**20)}
        name = f"{megabytes} MB of memory left"
        yield Day(f"{name}: generate", GENERATE, (0, 2), judge=_answered, options=short)
        learn = [*LEARN, "--out", "out"]
        yield Day(f"{name}: learn", learn, (0, 2), judge=_absent_or_whole, options=short)
        yield Day(f"{name}: evaluate", EVALUATE, (0, 2), options=short)


def _write_model(folder: Path, template: str | None, pad: bool, broken: bool, context: int) -> None:
    import torch
    from tests.tiny import tiny_model, tiny_tokenizer

    model, tokenizer = tiny_model("llama", max_position_embeddings=context), tiny_tokenizer(template)
    if not pad:
        tokenizer.pad_token = None
        model.config.pad_token_id = model.generation_config.pad_token_id = None
    if broken:
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def _models() -> Iterator[Day]:
    from tests.tiny import TEMPLATE

    made: dict[str, tuple[str | None, bool, bool, int, tuple[int, ...]]] = {
        "without a chat template": (None, True, False, 512, (0,)),
        "without a pad token": (TEMPLATE, False, False, 512, (0,)),
        "with a weight that is no number": (TEMPLATE, True, True, 512, (2,)),
        "with a context shorter than the prompt": (TEMPLATE, True, False, 8, (2,)),
    }
    learn = [*LEARN[:-3], "1", *LEARN[-2:], "--model", "model", "--out", "out"]
    evaluate = ["evaluate", "--suite", "base", *EVALUATE[3:], "--model", "model"]
    for name, (template, pad, broken, context, codes) in made.items():

        def prepare(folder: Path, made: tuple[Any, ...] = (template, pad, broken, context)) -> None:
            _write_model(folder, *made)

        for what in ([*GENERATE, "--model", "model"], learn, evaluate):
            yield Day(f"a model {name}: {what[0]}", what, codes, prepare)


def _names_cache(folder: Path, done: Done) -> str | None:
    if done.code == 2 and not ("--cache" in done.err and "--no-cache" in done.err):
        return f"it names neither --cache nor --no-cache: {done.err.strip()[-200:]}"
    return None


def _lose_folder() -> None:
    place = Path.cwd() / "lost"
    place.mkdir()
    os.chdir(place)
    place.rmdir()


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
        return _absent_or_whole(folder, Done(0, "", "")) or left_over(folder)
    finally:
        _remove(folder)


def interrupted(number: int, seconds: float, folder: Path) -> str | None:
    """A signal at some moment: no traceback, nothing half-written, and the exit code that the shell expects."""
    folder.mkdir(parents=True)
    try:
        done = stopped(start([*LEARN, "--out", "out", "--json", "result.json"], folder), number, seconds)
        codes = (0, 130) if number == signal.SIGINT else (0, -number, 128 + number)
        return done.wrong(*codes) or _absent_or_whole(folder, Done(1, "", "")) or _no_json_half(folder, done)
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
