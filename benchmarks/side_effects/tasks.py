"""The two tasks, as lm-evaluation-harness takes them: choices of one right answer by their log-likelihood."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, get_args

from benchmarks.side_effects.grammar import minimal_pairs
from trimtab.measure import facts
from trimtab.prompts.queries import Split

CHOICES = 4
SENTENCE = "Write a sentence."
"""What is asked before a sentence of a minimal pair."""

Row = dict[str, Any]


def fact_rows(seed: int = 0) -> list[Row]:
    """The closed-book questions of all splits, each with its usual answer and three of other questions of its subject.

    A number stands among numbers, a name among names and another word among such; none of the others is accepted as an
    answer, or in the question.
    """
    questions = [one for split in get_args(Split) for one in facts.questions(split)]
    rows = []
    for question in questions:
        right = question.answers[0]
        others = {
            one.answers[0]
            for one in questions
            if _kind(one.answers[0]) == _kind(right)
            and not question.answered(one.answers[0])
            and one.answers[0].casefold() not in question.text.casefold()
            and not any(other.casefold() == right.casefold() for other in one.answers)
        }
        near = {one.answers[0] for one in questions if one.subject == question.subject} & others
        rng = random.Random(f"{seed}/{question.text}")
        pool = sorted(near if len(near) >= CHOICES - 1 else others)
        rows.append(_row(question.text, right, rng.sample(pool, CHOICES - 1), rng, question.subject))
    return rows


def _kind(answer: str) -> tuple[bool, bool]:
    return answer.isdecimal(), answer[:1].isupper()


def grammar_rows(seed: int = 0) -> list[Row]:
    """The minimal pairs, each as an answer to one request."""
    rng = random.Random(seed)
    return [_row(SENTENCE, right, [wrong], rng, name) for name, (right, wrong) in minimal_pairs(seed=seed)]


def _row(text: str, right: str, wrong: Sequence[str], rng: random.Random, kind: str) -> Row:
    choices = [right, *wrong]
    rng.shuffle(choices)
    return {"text": text, "choices": choices, "gold": choices.index(right), "kind": kind}


TASKS = {"facts": fact_rows, "grammar": grammar_rows}


def configuration(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """A task of lm-eval over rows."""

    def dataset(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list(list(rows))}

    return {
        "task": name,
        "custom_dataset": dataset,
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "text",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": "",  # a chat's answer begins on a line of its own
        "metric_list": [{"metric": "acc"}],
    }
