"""Whether relevance tells answers to a question from answers to another one, and how long scoring takes.

    python -m benchmarks.relevance --model smollm2 --scorer qwen2.5-coder-1.5b --queries 16

Plain answers of the model are scored as answers to their own questions and to the next but two, under each of some
neutral requests that stand in for the question in `log p(answer)`. A good one brings the answers to other questions
near 0 with little spread, and leaves none of the right ones there.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated

import typer

import trimtab
from trimtab import prompts
from trimtab.measure.quality import negative_log_likelihoods
from trimtab.measure.scorer import NEUTRAL

REQUESTS = tuple(
    dict.fromkeys((NEUTRAL, "Tell me something.", "Write a text.", "Please answer the question.", ""))
)
_SHIFT = 3


def command(
    model: Annotated[str, typer.Option(help="What answers.")] = "smollm2",
    scorer: Annotated[str, typer.Option(help="What scores the answers.")] = "qwen2.5-coder-1.5b",
    queries: Annotated[int, typer.Option(min=_SHIFT + 1, help="Test questions.")] = 16,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 140,
) -> None:
    """Score answers with their own questions and with others."""
    engine = trimtab.load(model)
    asked = prompts.default_queries(engine.identity, "test", queries, 0)
    answers = [one.text for one in engine.generate(asked, max_new_tokens=max_new_tokens)]
    judge = trimtab.load(scorer)
    start = time.perf_counter()
    own = negative_log_likelihoods(judge, asked, answers)
    seconds = time.perf_counter() - start
    tokens = sum(len(judge.tokenizer(text)["input_ids"]) for text in answers)
    typer.echo(
        f"{queries} answers of {engine.identity.id} under {judge.identity.id} ({judge.model.dtype}): {tokens} tokens, "
        f"one pass {seconds:.1f} s, {tokens / seconds:.0f} tokens a second\n"
    )
    others = negative_log_likelihoods(judge, asked[_SHIFT:] + asked[:_SHIFT], answers)
    typer.echo("| in place of the question | own: mean | sd | least | other: mean | sd | most |")
    typer.echo("|---|---:|---:|---:|---:|---:|---:|")
    for request in REQUESTS:
        alone = negative_log_likelihoods(judge, [request] * len(answers), answers)
        figures = []
        for given, worst in ((own, min), (others, max)):
            found = [
                without - one
                for without, one in zip(alone, given, strict=True)
                if without is not None and one is not None
            ]
            figures += [statistics.mean(found), statistics.stdev(found), worst(found)]
        typer.echo(f"| {request or '(nothing)'} | {' | '.join(f'{one:.2f}' for one in figures)} |")


if __name__ == "__main__":
    typer.run(command)
