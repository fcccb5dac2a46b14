"""The model card of nano, measured: `python -m benchmarks.nano_card`.

Every figure is over test questions, test phrasings and test words, none of which occur in training.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

import trimtab
from trimtab.engines.base import Engine
from trimtab.files import write_text
from trimtab.instructions import Instruction
from trimtab.measure.quality import perplexity, repetition
from trimtab.nano.answers import write_answer
from trimtab.nano.curriculum import TAUGHT, draw_instruction, draw_instructions
from trimtab.nano.judge import facts
from trimtab.nano.questions import Question, open_questions
from trimtab.nano.recipe.corpus import ask

MAX_NEW_TOKENS = 224
CHANCE_SHARE = 0.05


@dataclass(frozen=True)
class Case:
    """One test prompt: a question, the instructions it comes with, and the user's turn that says both."""

    question: Question
    instructions: tuple[Instruction, ...]
    prompt: str


@dataclass(frozen=True)
class KindResult:
    """What was measured for one kind of instruction; every figure but `n` is a share from 0 to 1.

    Attributes:
        name: The instruction's short name.
        n: Test prompts.
        by_chance: How many of the plain training answers satisfy the check: whether it happens unasked.
        baseline: Followed without the instruction in the prompt.
        instructed: Followed with it.
        instructed_loose: The same by IFEval's loose check.
        instructed_facts: True sentences with it; None if the answers claim nothing.
        base_instructed: Followed by nano-base with the instruction in its prompt.
    """

    name: str
    n: int
    by_chance: float
    baseline: float
    instructed: float
    instructed_loose: float
    instructed_facts: float | None
    base_instructed: float


def measure(instruct: Engine, base: Engine, n: int, seed: int = 0) -> dict[str, Any]:
    """Measures both models.

    Args:
        instruct: nano-instruct.
        base: nano-base.
        n: Test prompts per kind of instruction.
        seed: Of the choice of questions, parameters, phrasings and words.

    Returns:
        JSON-able: "kinds" (a list of `KindResult` as dictionaries), "two" (followed and facts with two
        instructions), "baseline" (facts, perplexity and repetition of answers without any) and "settings".
    """
    rng = random.Random(f"card/{seed}")
    cases = {name: [_case(rng, name) for _ in range(n)] for name in TAUGHT}
    flat = [case for group in cases.values() for case in group]
    questions = list({case.question.text: case.question for case in flat}.values())
    plain = dict(
        zip((q.text for q in questions), _answer(instruct, [q.text for q in questions]), strict=True)
    )
    instructed = _answer(instruct, [case.prompt for case in flat])
    from_base = _answer(base, [case.prompt for case in flat])
    kinds = []
    for number, (name, group) in enumerate(cases.items()):
        place = slice(number * n, (number + 1) * n)
        kinds.append(
            KindResult(
                name,
                n,
                by_chance=_followed(group, [_unasked(rng, case.question) for case in group]),
                baseline=_followed(group, [plain[case.question.text] for case in group]),
                instructed=_followed(group, instructed[place]),
                instructed_loose=fmean(
                    all(i.check_loose(answer) for i in case.instructions)
                    for case, answer in zip(group, instructed[place], strict=True)
                ),
                instructed_facts=_facts([case.question.text for case in group], instructed[place]),
                base_instructed=_followed(group, from_base[place]),
            )
        )
    pairs = [_pair(rng) for _ in range(4 * n)]
    both = _answer(instruct, [case.prompt for case in pairs])
    texts, answers = list(plain), list(plain.values())
    return {
        "settings": {
            "prompts_per_kind": n,
            "seed": seed,
            "max_new_tokens": MAX_NEW_TOKENS,
            "decoding": "greedy",
        },
        "baseline": {
            "n": len(texts),
            "facts": _facts(texts, answers),
            "perplexity": perplexity(instruct, texts, answers),
            "repetition": fmean(map(repetition, answers)),
        },
        "kinds": [asdict(kind) for kind in kinds],
        "two": {
            "n": len(pairs),
            "followed": _followed(pairs, both),
            "facts": _facts([case.question.text for case in pairs], both),
        },
    }


def _case(rng: random.Random, name: str) -> Case:
    question = rng.choice(open_questions("test"))
    instruction = draw_instruction(rng, name, question, "test")
    return Case(question, (instruction,), ask(rng, question, [instruction], "test"))


def _pair(rng: random.Random) -> Case:
    """Two instructions that the training writer can meet together, so that following both is possible."""
    while True:
        question = rng.choice(open_questions("test"))
        chosen = draw_instructions(rng, 2, question, "test")
        if write_answer(rng, question, chosen) is not None:
            return Case(question, tuple(chosen), ask(rng, question, chosen, "test"))


def _unasked(rng: random.Random, question: Question) -> str:
    return write_answer(rng, question) or ""


def _answer(engine: Engine, prompts: Sequence[str]) -> list[str]:
    return [g.text for g in engine.generate(prompts, max_new_tokens=MAX_NEW_TOKENS, progress=True)]


def _followed(cases: Sequence[Case], answers: Sequence[str]) -> float:
    return fmean(
        all(instruction.check(answer) for instruction in case.instructions)
        for case, answer in zip(cases, answers, strict=True)
    )


def _facts(queries: Sequence[str], answers: Sequence[str]) -> float | None:
    shares = [share for q, a in zip(queries, answers, strict=True) if (share := facts(q, a)) is not None]
    return fmean(shares) if shares else None


def summary(result: dict[str, Any]) -> list[tuple[str, float, str, bool]]:
    """The aims of the recipe: (what, measured, aim, reached)."""
    kinds = [KindResult(**kind) for kind in result["kinds"]]
    two, baseline = result["two"], result["baseline"]
    rare = [kind for kind in kinds if kind.by_chance < CHANCE_SHARE]
    told = [kind.instructed_facts for kind in kinds if kind.instructed_facts is not None]
    mean, worst = fmean(kind.instructed for kind in kinds), min(kind.instructed for kind in kinds)
    unasked = max(kind.baseline for kind in rare)
    base = fmean(kind.base_instructed for kind in kinds)
    loss = baseline["facts"] - fmean(told)
    return [
        ("instructed, one instruction: mean followed", mean, ">= 0.92", mean >= 0.92),
        ("instructed, one instruction: worst kind", worst, ">= 0.75", worst >= 0.75),
        ("instructed, two instructions: both followed", two["followed"], ">= 0.75", two["followed"] >= 0.75),
        ("baseline: true sentences", baseline["facts"], ">= 0.95", baseline["facts"] >= 0.95),
        ("true sentences lost when instructed", loss, "<= 0.03", loss <= 0.03),
        ("baseline: highest followed of kinds that are rare by chance", unasked, "<= 0.10", unasked <= 0.10),
        ("nano-base, instructed: mean followed", base, "<= 0.40", base <= 0.40),
    ]


def render(result: dict[str, Any], command: str) -> str:
    """The card as Markdown."""
    baseline, settings = result["baseline"], result["settings"]
    lines = [
        "# The built-in model: nano",
        "",
        "`nano-base` and `nano-instruct` (or just `nano`) are small Llama models that ship with the package. They know",
        "one small invented world of 240 entities with eight facts each, in English, Spanish and French, so that every",
        "sentence they write can be judged true or false. `nano-base` learned plain documents; `nano-instruct` was",
        "tuned from it to follow instructions. They know nothing else: they are for demonstrations, tests and",
        "experiments.",
        "",
        "Both come from `python -m trimtab.nano.recipe.train`: data from a grammar, a fixed seed, no download. It took",
        "44 minutes on two cores that other work shared. Samples of the test split were looked at while the recipe was",
        "drafted: its figures are for prompts that nano never trained on, but not for a recipe that never saw them.",
        "Entities and question forms are all met in training, one in five of their combinations is not; phrasings and",
        "words that instructions name are split as well. Not taught: `letter_frequency`, `nth_paragraph_first_word`,",
        'and the relation "less than" of `capital_words` and `keyword_frequency`.',
        "",
        "## What was measured",
        "",
        f"By `{command}`, on test questions, test phrasings and test words. Greedy decoding,",
        f"{settings['prompts_per_kind']} prompts per kind.",
        "",
        "| what | measured | aim | reached |",
        "|---|---:|---|---|",
    ]
    lines += [
        f"| {what} | {value:.3f} | {aim} | {'yes' if ok else 'no'} |"
        for what, value, aim, ok in summary(result)
    ]
    lines += [
        "",
        f"Answers without instructions ({baseline['n']} questions): perplexity {baseline['perplexity']:.2f}",
        f"under nano itself, repetition {baseline['repetition']:.3f}.",
        "",
        "## By kind of instruction",
        "",
        "Share of answers that pass the strict check. *By chance* is the share of plain training answers that pass it;",
        "*facts* the share of true sentences among those that claim something.",
        "",
        "| kind | by chance | baseline | instructed | loose | facts, instructed | nano-base, instructed |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in (KindResult(**kind) for kind in result["kinds"]):
        told = "–" if kind.instructed_facts is None else f"{kind.instructed_facts:.3f}"
        lines.append(
            f"| {kind.name} | {kind.by_chance:.2f} | {kind.baseline:.2f} | {kind.instructed:.2f} | "
            f"{kind.instructed_loose:.2f} | {told} | {kind.base_instructed:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measures both models and writes the card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nano_card", description=__doc__)
    parser.add_argument("--n", type=int, default=50, help="test prompts per kind of instruction")
    parser.add_argument("--out", type=Path, default=Path("docs/nano.md"), help="where the card is written")
    parser.add_argument("--json", type=Path, help="also write the figures as JSON")
    options = parser.parse_args(arguments)
    result = measure(trimtab.load("nano-instruct"), trimtab.load("nano-base"), options.n)
    result["version"] = metadata.version("trimtab")
    write_text(options.out, render(result, f"python -m benchmarks.nano_card --n {options.n}"))
    if options.json:
        write_text(options.json, json.dumps(result, indent=1))
    console = Console()
    for what, value, aim, reached in summary(result):
        console.print(f"{'reached' if reached else 'missed '} {what}: {value:.3f} ({aim})", highlight=False)


if __name__ == "__main__":
    main()
