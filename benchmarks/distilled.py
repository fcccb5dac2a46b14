"""`python -m benchmarks.distilled {kinds,words,pairs,triples}`: what distilled steerings of nano reach.

- `kinds`: every instruction that nano was taught, one by one, under the four conditions.
- `words`: `include` and `exclude` of twenty words each of the test split: common English ones to say, those frequent in
  answers to avoid. An exclusion is also measured where it tempts: on the questions whose baseline answer has the word.
- `pairs`: every compatible pair of twelve instructions, composed; `triples`: twenty triples of them.

Measured are test questions; learning and choosing see the learning and validation splits only. What is learned is kept
in a folder: a run that was interrupted goes on from there.
"""

from __future__ import annotations

import itertools
import json as json_format
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.distilled_tables import tables
from benchmarks.running import run
from trimtab import instructions as catalogue
from trimtab import learn, nano
from trimtab.cli.models import Loading
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.learn.compose import compose, share_followed
from trimtab.measure.responses import Response, respond, respond_baseline
from trimtab.measure.rows import CONDITIONS, Row, evaluate_instruction
from trimtab.nano.vocabulary import listed_words, word_split
from trimtab.prompts.pairs import make_pairs
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction

TWELVE = (
    ("json", {}),
    ("title", {}),
    ("bullets", {"num_bullets": 3}),
    ("highlights", {"num_highlights": 2}),
    ("lowercase", {}),
    ("uppercase", {}),
    ("no_commas", {}),
    ("quotes", {}),
    ("postscript", {"postscript_marker": "P.S."}),
    ("sentences", {"at_most": 2}),
    ("include", {"word": "dragon"}),
    ("exclude", {"word": "wood"}),
)
LIMIT = 160
ABLE = 0.2  # combinations that the instructed model follows less often are counted apart as well
WORD_PAIRS, WORD_STEPS = 40, 70  # a word is learned in less than a format


class What(StrEnum):
    """What is measured."""

    kinds = "kinds"
    words = "words"
    pairs = "pairs"
    triples = "triples"


class Bench:
    """The model, its questions, and the steerings learned so far.

    Args:
        engine: nano.
        folder: Where steerings are kept.
        n: Test questions.
        pairs: Queries to learn on.
        output: Where progress is told.
    """

    def __init__(self, engine: Engine, folder: Path, n: int, pairs: int, output: Output) -> None:
        self.engine = engine
        self.folder = folder
        self.output = output
        self.test = nano.queries("test", n)
        self.learning = nano.queries("learning", pairs)
        self._baseline: list[Response] | None = None

    @property
    def baseline(self) -> list[Response]:
        """The responses to the test questions alone."""
        if self._baseline is None:
            self._baseline = respond_baseline(self.engine, self.test, facts=nano.facts, max_new_tokens=LIMIT)
        return self._baseline

    def kept(self, name: str, make: Callable[[], Steering]) -> tuple[Steering, float]:
        """The steering of a name, made if it is not there yet, and the seconds that making it took."""
        place = self.folder / name
        clock = place / "seconds.json"
        if clock.exists():
            return Steering.load(place, self.engine.identity), json_format.loads(clock.read_text())
        self.output.note(f"learning {name}")
        start = time.perf_counter()
        steering = make()
        seconds = time.perf_counter() - start
        steering.save(place)
        clock.write_text(json_format.dumps(round(seconds, 1)))
        return steering, seconds

    def single(
        self, instruction: Instruction, pairs: int | None = None, steps: int | None = None
    ) -> tuple[Steering, float]:
        """The distilled steering of one instruction, learned on the first questions, or `pairs` of them."""

        def make() -> Steering:
            return learn.distill(
                self.engine,
                self.learning[:pairs],
                instruction,
                schedule=None if steps is None else learn.Schedule(steps=steps),
                max_new_tokens=LIMIT,
            ).steering

        return self.kept(_name([instruction]), make)


def _name(instructions: Sequence[Instruction]) -> str:
    values = ["-".join([one.name, *(str(value) for value in one.params.values())]) for one in instructions]
    return "".join(letter if letter.isalnum() or letter in "-+._" else "_" for letter in "+".join(values))[
        :120
    ]


def kinds(bench: Bench) -> dict[str, Any]:
    """Every kind that nano was taught."""
    rows = []
    for drawn in nano.instructions():
        instruction = catalogue.get("repeat_prompt") if drawn.name == "repeat_prompt" else drawn
        steering, seconds = bench.single(instruction)
        measured = evaluate_instruction(
            bench.engine,
            instruction,
            steering,
            bench.test,
            baseline=bench.baseline,
            facts=nano.facts,
            max_new_tokens=LIMIT,
        )
        rows.append({"instruction": instruction.label, "seconds": round(seconds, 1), **_conditions(measured)})
    counted = [row for row in rows if row["instructed"]["followed"] >= 0.9]
    summary: dict[str, Any] = {"kinds": len(counted), "of": len(rows)}
    for condition in ("baseline", "instructed", "steered", "instructed+steered"):
        values = [row[condition]["followed"] for row in counted]
        summary[condition] = {"mean": sum(values) / len(values), "worst": min(values)}
    summary["steered under instructed"] = max(
        row["instructed"]["followed"] - row["steered"]["followed"] for row in counted
    )
    summary["instructed+steered under instructed"] = max(
        row["instructed"]["followed"] - row["instructed+steered"]["followed"] for row in counted
    )
    known = [row for row in counted if row["instructed"]["facts"] is not None]
    summary["facts lost"] = max(row["instructed"]["facts"] - row["steered"]["facts"] for row in known)
    summary["perplexity ratio"] = max(
        row["steered"]["perplexity"] / row["instructed"]["perplexity"] for row in counted
    )
    summary["seconds"] = {
        "mean": sum(row["seconds"] for row in rows) / len(rows),
        "most": max(row["seconds"] for row in rows),
    }
    return {"rows": rows, "summary": summary}


def words(bench: Bench, count: int = 20) -> dict[str, Any]:
    """Words that no phrasing of the training held, to say and to avoid."""
    rng = random.Random(0)
    rows = []
    to_say = rng.sample(sorted(listed_words("test")), count)
    answers = respond_baseline(bench.engine, nano.queries("test"), facts=nano.facts, max_new_tokens=LIMIT)
    for name, chosen in (("include", to_say), ("exclude", _words_of(answers, count))):
        for word in chosen:
            instruction = catalogue.get(name, word=word)
            steering, seconds = bench.single(instruction, WORD_PAIRS, WORD_STEPS)
            measure = partial(
                evaluate_instruction,
                bench.engine,
                instruction,
                steering,
                facts=nano.facts,
                max_new_tokens=LIMIT,
            )
            row = {"instruction": instruction.label, "seconds": round(seconds, 1)}
            row |= _conditions(measure(bench.test, baseline=bench.baseline))
            hard = [answer for answer in answers if name == "exclude" and not instruction.check(answer.text)]
            if hard:
                hard = hard[: len(bench.test)]
                tempted = measure([answer.query for answer in hard], baseline=hard)
                row["tempted"] = {"n": len(hard), **_conditions(tempted)}
            rows.append(row)
    summary = {}
    for name in ("include", "exclude"):
        own = [row for row in rows if row["instruction"].startswith(name)]
        for condition in CONDITIONS:
            values = [row[condition]["followed"] for row in own]
            summary[f"{name} {condition}"] = {"mean": sum(values) / len(values), "worst": min(values)}
        summary[f"{name} seconds"] = {"most": max(row["seconds"] for row in own)}
    asked = [row["tempted"] for row in rows if "tempted" in row]
    for condition in CONDITIONS:
        kept = sum(row["n"] * row[condition]["followed"] for row in asked)
        summary[f"tempted {condition}"] = {"mean": kept / sum(row["n"] for row in asked)}
    return {"rows": rows, "summary": summary}


def _words_of(answers: Sequence[Response], count: int) -> list[str]:
    """The most frequent words of the test split in answers, other than those of their questions."""
    asked = {word for answer in answers for word in re.findall(r"[a-z]+", answer.query.lower())}
    found = Counter(
        word for answer in answers for word in set(re.findall(r"[a-z]{4,}", answer.text.lower())) - asked
    )
    return [word for word, _ in found.most_common() if word_split(word) == "test"][:count]


def _conditions(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        row.condition: {
            "followed": round(row.followed, 4),
            "facts": row.quality.facts,
            "perplexity": row.quality.perplexity,
        }
        for row in rows
    }


def combinations(bench: Bench, size: int, most: int | None = None) -> dict[str, Any]:
    """Compositions of the twelve, all compatible ones of a size or `most` of them."""
    chosen = [catalogue.get(name, **params) for name, params in TWELVE]
    groups = [
        group
        for group in itertools.combinations(chosen, size)
        if not any(one.conflicts_with(other) for one, other in itertools.combinations(group, 2))
    ]
    if most is not None:
        groups = random.Random(0).sample(groups, min(most, len(groups)))
    rows = []
    for group in groups:
        parts = [bench.single(one)[0] for one in group]
        steering, seconds = bench.kept(
            _name(group),
            lambda parts=parts: compose(bench.engine, parts, max_new_tokens=LIMIT).steering,  # type: ignore[misc]
        )
        said = [""] * len(bench.test)
        for one in group:
            pairs = make_pairs(bench.test, one, "test")
            said = [f"{text} {pair.phrasing}" for text, pair in zip(said, pairs, strict=True)]
        told = respond(
            bench.engine, bench.test,
            [query + text for query, text in zip(bench.test, said, strict=True)],
            max_new_tokens=LIMIT,
        )  # fmt: skip
        union = parts[0]
        for part in parts[1:]:
            union = union + part
        measured = {
            "instructions": [one.label for one in group],
            "fit": steering.record.settings.get("fit"),
            "seconds": round(seconds, 1),
            "instructed": sum(all(one.check(item.text) for one in group) for item in told) / len(told),
            "union": share_followed(bench.engine, union, group, bench.test, max_new_tokens=LIMIT),
        }
        measured["composed"] = (
            share_followed(bench.engine, steering, group, bench.test, max_new_tokens=LIMIT)
            if measured["fit"] == "joint distillation"
            else measured["union"]
        )
        rows.append(measured)
    summary: dict[str, Any] = {"all": len(rows)}
    able = [row for row in rows if row["instructed"] >= ABLE]
    summary[f"instructed follows >= {ABLE}"] = len(able)
    for group, of in ((rows, ""), (able, f", instructed >= {ABLE}")):
        for name in ("instructed", "union", "composed") if group else ():
            values = [row[name] for row in group]
            summary[name + of] = {"mean": sum(values) / len(values), "worst": min(values)}
    return {"rows": rows, "summary": summary}


def command(
    what: Annotated[What, typer.Argument(help="What to measure.")],
    n: Annotated[int, typer.Option(min=1, help="Test questions.")] = 50,
    pairs: Annotated[int, typer.Option(min=8, help="Questions to learn on.")] = 64,
    work: Annotated[Path, typer.Option(help="Folder of the steerings learned.")] = Path("build/distilled"),
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure distilled steerings of nano."""
    output = Output(json, quiet)
    bench = Bench(Loading().open(output, "nano"), work, n, pairs, output)
    measure: dict[What, Callable[[], dict[str, Any]]] = {
        What.kinds: lambda: kinds(bench),
        What.words: lambda: words(bench),
        What.pairs: lambda: combinations(bench, 2),
        What.triples: lambda: combinations(bench, 3, 20),
    }
    found = measure[what]()
    output.result(found)
    for table in tables(found):
        output.print(table)


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.distilled"))
