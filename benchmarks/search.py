"""Our search for block and strength against a loop in the manner of the ICLR 2025 paper's code, on the same candidates.

    python benchmarks/search.py

The loop takes one candidate and one question at a time and computes every token anew from the whole text, without a
key/value cache, as `format/find_best_layer.py` of https://github.com/microsoft/llm-steer-instruct does; it is our own
writing of that, with a hook of its own. Three ways are measured in one run, one after the other:

- `loop`: every candidate on every question, and the check of every answer;
- `grid`: `trimtab.tune.grid.search` told to try every candidate on every question;
- `search`: `trimtab.tune.grid.search` as it is, with successive halving.

`grid` and `search` also write the plain and the instructed answers and score the perplexity, repetition and facts of
every answer, which the loop does not. Every steered answer of both is compared with the loop's, token for token.

`--share 0.2` lets the loop write only a random fifth of the answers, and multiplies its time by five; the output says
so.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, its neighbours are not on the path

import trimtab
from benchmarks.running import run
from trimtab import learn, nano, prompts, tune
from trimtab.engines.base import Engine, Generation
from trimtab.engines.chat import prompt_ids
from trimtab.engines.ends import end_tokens
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import TrimtabError
from trimtab.instructions import Instruction
from trimtab.instructions import spelling as specs
from trimtab.learn import Directions
from trimtab.steering.blocks import hidden_of, with_hidden
from trimtab.tune.grid import Choice
from trimtab.tune.vector import learn_directions

Answers = dict[tuple[Choice, str], tuple[int, ...]]


@dataclass(frozen=True)
class Timing:
    """How long one way took, and what it gave.

    Attributes:
        way: `loop`, `grid` or `search`.
        seconds: On the clock; of a loop that wrote a share of the answers, what all of them would have taken.
        cpu_seconds: Of this process, all threads together: steadier where the machine has other work.
        answers: How many steered answers it wrote.
        compared: How many of them the loop wrote, too.
        equal: How many of those are the same, token for token.
        best: Its winner; None of a loop that wrote a share of the answers.
    """

    way: str
    seconds: float
    cpu_seconds: float
    answers: int
    compared: int
    equal: int
    best: str | None


@Engine.register
class Recording:
    """An engine that remembers which steered answers it wrote."""

    def __init__(self, engine: TransformersEngine) -> None:
        self.identity = engine.identity
        self.answers: Answers = {}
        self._engine = engine

    def generate(self, asked: Sequence[str], *, steering: Any = None, **options: Any) -> list[Generation]:
        """Writes answers, and remembers the steered ones by candidate and question."""
        written = self._engine.generate(asked, steering=steering, **options)
        for query, one, answer in zip(asked, steering or [None] * len(asked), written, strict=True):
            if one is not None:
                how = one.record.settings
                self.answers[(how["application"], how["block"], how["strength"]), query] = answer.token_ids
        return written

    def score(self, *arguments: Any, **options: Any) -> list[float]:
        """Scores answers."""
        return self._engine.score(*arguments, **options)


@torch.inference_mode()
def answer_alone(
    engine: TransformersEngine, directions: Directions, choice: Choice, query: str, max_new_tokens: int
) -> tuple[int, ...]:
    """One candidate, one question, every token computed anew from the whole text.

    Args:
        engine: Where the model and its tokenizer are.
        directions: What was learned.
        choice: How it is applied, where, and how strongly.
        query: The question.
        max_new_tokens: Longest answer, in tokens.

    Returns:
        The answer's tokens, without the end token.
    """
    application, block, strength = choice
    row = directions.blocks.index(block)
    direction = directions.directions[row].to(engine.device)
    plain, instructed = float(directions.plain[row]), float(directions.instructed[row])
    step = strength * (instructed - plain)

    def hook(module: Any, inputs: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        if application == "add":
            return with_hidden(output, hidden + step * direction)
        return with_hidden(output, hidden + (plain + step - hidden @ direction)[..., None] * direction)

    ends = end_tokens(engine.model.generation_config, engine.tokenizer)
    prompt = prompt_ids(engine.tokenizer, query)
    written: list[int] = []
    handle = engine.decoder_blocks.blocks[block].register_forward_hook(hook)
    try:
        while len(written) < max_new_tokens:
            text = torch.tensor([prompt + written], device=engine.device)
            token = int(engine.model(input_ids=text, use_cache=False).logits[0, -1].argmax())
            if token in ends:
                break
            written.append(token)
    finally:
        handle.remove()
    return tuple(written)


def measure(
    engine: TransformersEngine,
    instruction: Instruction,
    blocks: Sequence[int],
    strengths: Sequence[float],
    queries: Sequence[str],
    *,
    pairs: int = 56,
    max_new_tokens: int = 192,
    share: float = 1.0,
    first: int | None = None,
    keep: int = 4,
    told: Callable[[str], None] = lambda text: None,
) -> list[Timing]:
    """Runs the loop, the grid and the search on the same candidates.

    Args:
        engine: The model.
        instruction: What is to be followed.
        blocks: The blocks to try.
        strengths: The strengths to try.
        queries: Validation questions.
        pairs: Prompt pairs to learn from.
        max_new_tokens: Longest answer, in tokens.
        share: How many of the answers the loop writes, chosen at random.
        first: How many questions the search tries all candidates on; as `tune.search` does when None.
        keep: How many candidates it tries on all.
        told: Told how far it is.

    Returns:
        The timings of `loop`, `grid` and `search`.
    """
    sign = learn.learning_source(instruction).sign
    learning = prompts.default_queries(engine.identity, "learning", pairs)
    directions = learn_directions(engine, instruction, learning)
    choices: list[Choice] = [
        (way, block, sign * strength)
        for way in ("add", "set_projection")
        for block in blocks
        for strength in strengths
    ]
    engine.generate(list(queries), max_new_tokens=2)  # what only a first call does is no one's to pay for

    jobs = [(choice, query) for choice in choices for query in queries]
    written = random.Random(0).sample(jobs, max(1, round(share * len(jobs))))
    alone: Answers = {}
    passed = dict.fromkeys(choices, 0)
    clock = _Clock()
    for choice, query in written:
        tokens = answer_alone(engine, directions, choice, query, max_new_tokens)
        alone[choice, query] = tokens
        text = engine.tokenizer.decode(tokens, skip_special_tokens=True)
        passed[choice] += instruction.for_query(query).judge(text).loose
        if len(alone) % 20 == 0:
            told(f"loop: {len(alone)} of {len(written)} answers")
    # By followed alone, as the paper's first script does; ties go to the earliest block.
    best = max(choices, key=lambda choice: (passed[choice], -choice[1]))
    timing = clock.timing("loop", alone, alone, _named(best) if len(written) == len(jobs) else None)
    scale = len(jobs) / len(written)
    timings = [replace(timing, seconds=timing.seconds * scale, cpu_seconds=timing.cpu_seconds * scale)]

    for way, start in (("grid", len(queries)), ("search", first)):
        recording = Recording(engine)
        clock = _Clock()
        found = tune.search(
            recording,  # type: ignore[arg-type]
            directions,
            instruction,
            queries,
            blocks=blocks,
            strengths=[sign * strength for strength in strengths],
            facts=nano.facts if nano.is_built_in(engine.identity.id) else None,
            first=start,
            keep=keep,
            max_new_tokens=max_new_tokens,
        )
        chosen = (found.best.application, found.best.block, found.best.strength)
        timings.append(clock.timing(way, recording.answers, alone, _named(chosen)))
        told(f"{way}: done")
    return timings


class _Clock:
    """Time since it was made."""

    def __init__(self) -> None:
        self._seconds, self._cpu = time.perf_counter(), time.process_time()

    def timing(self, way: str, written: Answers, alone: Answers, best: str | None) -> Timing:
        seconds, cpu = time.perf_counter() - self._seconds, time.process_time() - self._cpu
        same = [tokens == alone[job] for job, tokens in written.items() if job in alone]
        return Timing(way, seconds, cpu, len(written), len(same), sum(same), best)


def _named(choice: Choice) -> str:
    return f"{choice[0]} at block {choice[1]}, strength {choice[2]:g}"


def table(timings: Sequence[Timing]) -> str:
    """The timings as a Markdown table, with how many times faster than the loop each is."""
    loop = timings[0]

    def faster(one: Timing) -> str:
        return f"{loop.seconds / one.seconds:.1f} | {loop.cpu_seconds / one.cpu_seconds:.1f}"

    lines = [
        "| way | seconds | CPU seconds | times faster (clock) | times faster (CPU) | answers | equal | winner |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {one.way} | {one.seconds:.1f} | {one.cpu_seconds:.1f} | {faster(one)} "
        f"| {one.answers} | {one.equal} of {one.compared} | {one.best or ''} |"
        for one in timings
    ]
    return "\n".join(lines)


def command(
    model: Annotated[
        str, typer.Option("--model", "-m", help="nano, a folder, or a model of the Hub.")
    ] = "nano",
    instruction: Annotated[str, typer.Option(help="What is to be followed.")] = "lowercase",
    blocks: Annotated[str, typer.Option(help="Blocks to try; all of a model when empty.")] = "",
    strengths: Annotated[str, typer.Option(help="Strengths to try.")] = "0.5,1,2,4",
    queries: Annotated[int, typer.Option(min=1, help="Validation questions.")] = 12,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 192,
    share: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Share of the answers that the loop writes; its time is scaled up."
        ),
    ] = 1.0,
    json_to: Annotated[Path | None, typer.Option("--json", help="Also write the timings here.")] = None,
) -> None:
    """Our search against a loop in the manner of the paper's code: same candidates, same answers, one run."""
    named = _numbers(blocks, int, "blocks") if blocks else None
    tried = _numbers(strengths, float, "strengths")
    wanted = specs.parse_instructions(instruction)[0]
    engine = trimtab.load(model)
    chosen = engine.block_numbers(named)
    asked = prompts.default_queries(engine.identity, "validation", queries)
    timings = measure(
        engine,
        wanted,
        chosen,
        tried,
        asked,
        max_new_tokens=max_new_tokens,
        share=share,
        told=lambda text: print(text, file=sys.stderr),
    )
    count = 2 * len(chosen) * len(tried)
    print(
        f"{engine.identity.id} on {engine.device}, {torch.get_num_threads()} thread(s): {wanted.label}, "
        f"{count} candidates, {len(asked)} questions, at most {max_new_tokens} tokens"
    )
    if timings[0].answers < count * len(asked):
        print(
            f"the loop's time is scaled up from a random {timings[0].answers} of {count * len(asked)} answers"
        )
    print()
    print(table(timings))
    if json_to is not None:
        json_to.write_text(json.dumps([asdict(one) for one in timings], indent=2) + "\n", encoding="utf-8")


def _numbers(text: str, kind: Callable[[str], Any], what: str) -> list[Any]:
    """The numbers of an option."""
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise TrimtabError(f"{what} are numbers separated by commas, not {text!r}") from error
    if not all(math.isfinite(value) for value in values):
        raise TrimtabError(f"{what} are finite numbers, not {text!r}")
    return values


if __name__ == "__main__":
    sys.exit(run(command, "python benchmarks/search.py"))
