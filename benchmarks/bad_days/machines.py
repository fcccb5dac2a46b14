"""Machines that lack something, models that do, and the commands that are run on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bad_days import days, process
from benchmarks.bad_days.days import Day
from benchmarks.bad_days.process import Done

# --- preparations -----------------------------------------------------------------------------------------------------


def _write_prompts(folder: Path, name: str = "prompts.txt") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(days.PROMPTS) + "\n")


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


def machines() -> Iterator[Day]:
    """All days, a second or a few each."""
    for some in (_disks, _streams, _folders, _homes, _places, _paths, _memory, _models):
        yield from some()


def _disks() -> Iterator[Day]:
    to_json = [*days.GENERATE, "--json", "result.json"]
    for size in (0, 512, 2048):
        full: dict[str, Any] = {"first": process.disk_of(size)}
        name, may = f"full disk ({size} bytes left)", (0, 2) if size else (2,)
        yield Day(
            f"{name}: learn", [*days.LEARN, "--out", "out"], (2,), judge=days.absent_or_whole, options=full
        )
        yield Day(f"{name}: generate --json", to_json, may, judge=days.no_json_half, options=full)
        yield Day(f"{name}: evaluate", days.EVALUATE, may, options=full)


def _streams() -> Iterator[Day]:
    codes = {"full": (1, 2), "gone": (0, 1, 2, 141), "closed": (0, 2)}
    for name, stream in (("a full disk", "full"), ("a closed pipe", "gone"), ("closed", "closed")):
        out: dict[str, Any] = {"out": stream}
        for what in (days.GENERATE, [*days.GENERATE, "--json", "-"], ["instructions"]):
            shown = " ".join(word for word in what if word not in days.GENERATE[1:])
            yield Day(f"standard output is {name}: {shown}", what, codes[stream], options=out)
        err: dict[str, Any] = {"err": stream}
        yield Day(
            f"standard error is {name}: generate", days.GENERATE, (0,), judge=days.answered, options=err
        )
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

    yield day("learn --out", *days.LEARN, "--out", "closed/out")
    yield day("--json", *days.GENERATE, "--json", "closed/r.json")
    yield day("--json over a file", *days.GENERATE, "--json", "closed/result.json", prepare=_read_only_file)
    yield day("--report", *days.EVALUATE, "--report", "closed/r.html")
    yield day("--cache", *days.EVALUATE, "--cache", "closed/cache")


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
        yield Day(f"{name}: generate", days.GENERATE, judge=days.answered, options=options)
        yield Day(f"{name}: evaluate", days.EVALUATE, (0, 2), judge=_names_cache, options=options)
        yield Day(f"{name}: evaluate --no-cache", [*days.EVALUATE, "--no-cache"], options=options)
        yield Day(f"{name}: doctor", ["doctor"], (0, 1), options=options)


def _places() -> Iterator[Day]:
    temporary = {"environment": {"TMPDIR": "/nonexistent"}}
    yield Day("no place for temporary files: generate", days.GENERATE, options=temporary)
    lost = {"first": _lose_folder}
    yield Day("the folder is gone: generate", days.GENERATE, options=lost)
    yield Day("the folder is gone: learn", [*days.LEARN, "--out", "out"], (2,), options=lost)
    yield Day("24 files at once: generate", days.GENERATE, (0, 2), options={"first": process.files_of(24)})


def _paths() -> Iterator[Day]:
    for name in _NAMES:
        said = f"a path named {name[:24]!r}"
        yield Day(
            f"{said}: learn --out",
            [*days.LEARN, "--out", f"./{name}/out", "--json", "result.json"],
            prepare=lambda folder, name=name: (folder / name).mkdir(),
            judge=lambda folder, done, name=name: (
                days.absent_or_whole(folder / name, done) or days.json_there(folder, done)
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
            judge=lambda folder, done, name=name: days.json_there(folder / name, done),
        )


def _memory() -> Iterator[Day]:
    for megabytes in (0, 4, 16, 64):
        short: dict[str, Any] = {"first": process.memory_of(megabytes * 2**20)}
        name = f"{megabytes} MB of memory left"
        yield Day(f"{name}: generate", days.GENERATE, (0, 2), judge=days.answered, options=short)
        learn = [*days.LEARN, "--out", "out"]
        yield Day(f"{name}: learn", learn, (0, 2), judge=days.absent_or_whole, options=short)
        yield Day(f"{name}: evaluate", days.EVALUATE, (0, 2), options=short)


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
    learn = [*days.LEARN[:-3], "1", *days.LEARN[-2:], "--model", "model", "--out", "out"]
    evaluate = ["evaluate", "--suite", "base", *days.EVALUATE[3:], "--model", "model"]
    for name, (template, pad, broken, context, codes) in made.items():

        def prepare(folder: Path, made: tuple[Any, ...] = (template, pad, broken, context)) -> None:
            _write_model(folder, *made)

        for what in ([*days.GENERATE, "--model", "model"], learn, evaluate):
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
