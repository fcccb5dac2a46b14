"""Interleaved rounds, and the ratios that come out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Protocol

from benchmarks.serving.served import Run
from trimtab.progress import Tell, silent

BASE = "without plugin"


class Server(Protocol):
    """Whatever serves batches."""

    def run(self, seed: int, names: Sequence[str] = ()) -> Run:
        """Serves one batch."""


@dataclass
class Way:
    """One way of serving, and what its runs took.

    Attributes:
        title: What the table calls it.
        names: The steerings of its batches; none for unsteered requests.
        runs: All its runs.
        ratios: Of its speed to that of the runs without the plugin around it, one for each round.
        cpu_ratios: The same in processor time.
        changed: Share of answers that are others than without the plugin, one for each round.
    """

    title: str
    names: tuple[str, ...] = ()
    runs: list[Run] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    cpu_ratios: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)

    def add(self, run: Run, before: Run, after: Run) -> None:
        """Takes in a run, between two of another way, the first of them over the same prompts."""
        self.runs.append(run)
        self.ratios.append(mean((before.seconds, after.seconds)) / run.seconds)
        self.cpu_ratios.append(mean((before.cpu_seconds, after.cpu_seconds)) / run.cpu_seconds)
        pairs = zip(before.answers, run.answers, strict=True)
        self.changed.append(mean(ours != theirs for ours, theirs in pairs))

    @property
    def seconds(self) -> float:
        """The median run."""
        return median(run.seconds for run in self.runs)

    @property
    def ratio(self) -> float:
        """The median of its ratios."""
        return median(self.ratios)


def measure(
    plain: Server,
    steered: Server,
    ways: Sequence[Way],
    rounds: int,
    tell: Tell = silent,
) -> Way:
    """Runs every way in every round, between two runs without the plugin: A B A C A D A.

    Each way is compared with the mean of the two runs beside it, so that a machine that grows slower meanwhile does not
    count; each round begins with another way. No prompt comes twice to the same vLLM, so no cache of prefixes helps.
    Before the first round everything runs once, to warm up, and is forgotten.

    Args:
        plain: vLLM without the plugin.
        steered: vLLM with it.
        ways: What `steered` is to be given; their lists are filled.
        rounds: How many count.
        tell: Told of every run before it begins.

    Returns:
        The runs without the plugin.
    """
    base = Way(BASE)
    total = 1 + len(ways) + (2 * len(ways) + 1) * rounds
    done = 0

    def run(server: Server, way: Way, seed: int) -> Run:
        nonlocal done
        tell("serving", done, total, way.title)
        done += 1
        return server.run(seed, way.names)

    run(plain, base, -1)
    for number, way in enumerate(ways):
        run(steered, way, -1 - number)
    seed = 0
    for number in range(rounds):
        first = number % len(ways)
        before = run(plain, base, seed)
        base.runs.append(before)
        for way in (*ways[first:], *ways[:first]):
            steering = run(steered, way, seed)
            seed += 1
            after = run(plain, base, seed)
            base.runs.append(after)
            way.add(steering, before, after)
            before = after
        seed += 1
    return base
