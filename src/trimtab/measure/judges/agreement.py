"""How often a judge agrees with a person: on labelled answers of each tone, none of which it was calibrated on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trimtab import arguments
from trimtab.errors import PromptError
from trimtab.files import json_lines, read_text
from trimtab.instructions import get_type
from trimtab.measure.judges.base import InstructionJudge
from trimtab.measure.statistics import Interval, wilson
from trimtab.progress import Progress

_LINE = '{"tone": "formal", "answer": "...", "verdict": true}'


@dataclass(frozen=True)
class Labelled:
    """An answer that a person judged.

    Attributes:
        tone: Name of the instruction.
        answer: The text.
        verdict: Whether it follows the instruction, to a person.
    """

    tone: str
    answer: str
    verdict: bool


@dataclass(frozen=True)
class Agreement:
    """How a judge compares with a person on the labelled answers of one instruction.

    Attributes:
        tone: Name of the instruction.
        agreed: How many verdicts are the same.
        n: How many answers there are; those of which the judge cannot tell are among them, and do not agree.
        wrongly_passed: How many it passes and a person does not.
        wrongly_failed: How many a person passes and it does not.
        right: Share of its contrast examples that the judge gets right, each left out in turn; None without any.
        believable: Whether that is enough for it to be asked at all.
    """

    tone: str
    agreed: int
    n: int
    wrongly_passed: int
    wrongly_failed: int
    right: float | None
    believable: bool

    @property
    def share(self) -> float:
        """Share of the verdicts that are the same."""
        return self.agreed / self.n

    @property
    def interval(self) -> Interval:
        """Its 95 % interval, Wilson's."""
        return wilson(self.agreed, self.n)

    def to_dict(self) -> dict[str, Any]:
        """The agreement as JSON."""
        return {
            "tone": self.tone,
            "n": self.n,
            "agreed": self.agreed,
            "share": round(self.share, 4),
            "interval": self.interval.to_list(),
            "wrongly_passed": self.wrongly_passed,
            "wrongly_failed": self.wrongly_failed,
            "contrast_right": None if self.right is None else round(self.right, 4),
            "believable": self.believable,
        }


def labelled(path: str | Path | None = None) -> list[Labelled]:
    """Labelled answers of a file of JSON Lines, or those of trimtab.

    Args:
        path: The file, each line such as ``{"tone": "formal", "answer": "...", "verdict": true}``.

    Raises:
        PromptError: A line has not these three fields, or there is none.
        TrimtabError: The file cannot be read.
    """
    if path is None:
        source = "labelled.jsonl"
        text = (resources.files("trimtab") / "data" / "tones" / source).read_text(encoding="utf-8")
    else:
        source, text = str(path), read_text(arguments.place(path, "path", PromptError))
    found = []
    for where, row in json_lines(source, text, hint=f"each line must be like {_LINE}"):
        try:
            one = Labelled(row["tone"], row["answer"], row["verdict"])
        except (TypeError, KeyError):
            one = None
        if one is None or not (
            isinstance(one.tone, str) and isinstance(one.answer, str) and isinstance(one.verdict, bool)
        ):
            raise PromptError(f"{where}: must be like {_LINE}, not {json.dumps(row)[:80]}")
        found.append(one)
    if not found:
        raise PromptError(f"{source} holds no labelled answer; each line is like {_LINE}")
    return found


def agreement(
    judge: InstructionJudge,
    answers: Sequence[Labelled],
    tones: Iterable[str] | None = None,
    *,
    progress: Progress = False,
) -> list[Agreement]:
    """Compares a judge with a person, instruction by instruction.

    Args:
        judge: The judge.
        answers: What a person judged.
        tones: Of which instructions; None for all that occur. One without labelled answers has no agreement.
        progress: See `trimtab.progress.Progress`.

    Raises:
        InstructionError: There is no such instruction.
        PromptError: An instruction among the answers has no question for a judge.
        TrimtabError: The judge cannot be asked.
    """
    of = "an InstructionJudge (trimtab.measure.judges)"
    arguments.instance(judge, "judge", InstructionJudge, of, PromptError)
    answers = arguments.each(answers, "answers", "labelled answers (judges.labelled)", Labelled, PromptError)
    if tones is not None:
        tones = arguments.each(tones, "tones", "names of instructions", str, PromptError)
    if not callable(progress):
        arguments.flag(progress, "progress", PromptError)
    wanted = dict.fromkeys(one.tone for one in answers) if tones is None else dict.fromkeys(tones)
    found = []
    for tone in wanted:
        own = [one for one in answers if one.tone == tone]
        question = get_type(tone).question
        if question is None:
            raise PromptError(f"{tone} has no question for a judge: its check is a program")
        if not own:
            continue
        calibration = judge.calibration(question, progress=progress)
        odds = judge.odds(question, [one.answer for one in own], progress=progress)
        said = [(None if odd is None else odd > 0, one.verdict) for odd, one in zip(odds, own, strict=True)]
        found.append(
            Agreement(
                tone,
                agreed=sum(passed is verdict for passed, verdict in said),
                n=len(own),
                wrongly_passed=sum(passed is True and not verdict for passed, verdict in said),
                wrongly_failed=sum(passed is not True and verdict for passed, verdict in said),
                right=calibration.right,
                believable=calibration.believable,
            )
        )
    return found
