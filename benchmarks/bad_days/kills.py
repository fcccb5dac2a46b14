"""kill -9 at random moments: nothing finished is lost, the same command goes on, and comes to the very same result."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bad_days.process import run, start, stopped

_SMALL = ("--validation", "4", "--max-new-tokens", "16")


@dataclass(frozen=True)
class Work:
    """A command that takes some seconds, and what it comes to.

    Attributes:
        name: Of the command.
        arguments: Its arguments; it is run in a folder with the steerings `a` and `b`.
        result: What it came to, of the folder.
        first: Called in its process.
    """

    name: str
    arguments: Sequence[str]
    result: Callable[[Path], Any]
    first: Callable[[], Any] = field(default=lambda: None)


def _digest(folder: Path) -> Any:
    from trimtab import Steering

    return Steering.load(folder / "out").digest()


def _table(folder: Path) -> Any:
    found = json.loads((folder / "result.json").read_bytes())
    return {key: value for key, value in found.items() if key in ("rows", "answers", "model", "suite")}


def works() -> Iterator[Work]:
    """What is killed, but for push."""
    learn = (
        "learn",
        "lowercase",
        "--pairs",
        "8",
        "--steps",
        "24",
        "--blocks",
        "1,2",
        *_SMALL,
        "--out",
        "out",
    )
    yield Work("learn", learn, _digest)
    tune = (
        "tune",
        "lowercase",
        "--pairs",
        "8",
        "--blocks",
        "1,2",
        "--strengths",
        "1,2",
        *_SMALL,
        "--out",
        "out",
    )
    yield Work("tune", tune, _digest)
    compose = (
        "compose",
        "a",
        "b",
        "--fit",
        "always",
        "--pairs",
        "8",
        "--steps",
        "12",
        *_SMALL,
        "--out",
        "out",
    )
    yield Work("compose", compose, _digest)
    evaluate = (
        *("evaluate", "--suite", "nano", "--instructions", "lowercase,no_commas", "--limit", "4"),
        *("--max-new-tokens", "16", "--batch-size", "2", "--cache", "cache", "--json", "result.json"),
    )
    yield Work("evaluate", evaluate, _table)
    transfer = ("transfer", "a", "--model", "nano-base", "--pairs", "8", "--test", "4", "--strengths", "1,2")
    yield Work("transfer", (*transfer, *_SMALL, "--out", "out"), _digest)
    generate = ("generate", "--prompts", "prompts.txt", "--max-new-tokens", "8", "--out", "answers.jsonl")
    yield Work("generate", generate, lambda folder: (folder / "answers.jsonl").read_text(encoding="utf-8"))


@contextmanager
def push() -> Iterator[Work]:
    """Pushing to a stand-in for the Hub, which takes a commit whole or not at all, as the Hub does."""
    from huggingface_hub import constants
    from tests.steering.hub_stand_in import TOKEN, running

    with running() as hub:

        def point() -> None:
            template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
            constants.HUGGINGFACE_CO_URL_TEMPLATE = template
            constants.ENDPOINT = hub.address
            constants.HF_HUB_OFFLINE = False
            os.environ["HF_TOKEN"] = TOKEN

        def result(folder: Path) -> Any:
            commits = hub.repositories["owner/name"].commits.values()
            return [sorted(files) for files in commits][:1], hub.repositories["owner/name"].files()

        yield Work("push", ("push", "a", "owner/name"), result, point)


def prepared(folder: Path) -> None:
    """The two steerings and the prompts that works need."""
    from trimtab import nano

    folder.mkdir(parents=True)
    for name, instruction in (("a", "lowercase"), ("b", "no_commas")):
        learn = ("--method", "mean_difference", "--pairs", "8", "--block", "2", "--strength", "1")
        done = run(("learn", instruction, *learn, "--out", name), folder)
        if done.code:
            raise RuntimeError(done.err)
    prompts = nano.queries("test", 200, 0)
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")


def killed(work: Work, given: Path, folder: Path, times: int, seed: int) -> Iterator[str | None]:
    """Kills the work once or twice at random moments, and runs it to its end; so many times.

    Yields:
        What was wrong, or None.
    """
    shutil.copytree(given, folder / "whole")
    began = time.monotonic()
    done = run(work.arguments, folder / "whole", first=work.first)
    seconds = time.monotonic() - began
    if done.code:
        yield f"it fails by itself: {done.err[-300:]}"
        return
    expected = work.result(folder / "whole")
    draw = random.Random(f"{work.name}/{seed}")
    for number in range(times):
        place = folder / str(number)
        shutil.copytree(given, place)
        for _ in range(draw.randint(1, 2)):
            begun = start(work.arguments, place, first=work.first)
            stopped(begun, signal.SIGKILL, draw.uniform(0.05, 1) * seconds)
        done = run(work.arguments, place, first=work.first)
        wrong = done.wrong(0)
        if wrong is None and work.result(place) != expected:
            wrong = "another result than without the kill"
        yield wrong
        shutil.rmtree(place)
