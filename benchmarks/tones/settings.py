"""What is measured of tones, and how they are learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from trimtab.instructions import Instruction

TONES = "pirate,friendly,enthusiastic,poetic"
"""Tones of whose contrast examples the judge is right; it is refused for some of the others."""

JUDGE = "qwen2.5-coder-1.5b"

COMPOSED = "json,sentences(at_most=2)"
"""What the first tone is composed with."""

METHODS = {
    "contrast": "--method contrast --judged-by probe --block 14 --apply add --validation 4 --max-new-tokens 64",
    "distill": "--judged-by probe --pairs 24 --validation 4 --steps 16 --rank 1 --batch-size 8 --max-new-tokens 80",
}
"""By name, the options of `trimtab learn` for a tone. The probe chooses, since it is quick; another judge measures."""

CHECKED = "--pairs 16 --validation 4 --steps 16 --rank 1 --batch-size 8 --max-new-tokens 80"
"""The same for what the tone is composed with, which is always distilled."""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        model: Its name, folder or GGUF file.
        tones: Instructions with a question for a judge.
        composed: Instructions with a check; the first tone is composed with each.
        queries: Test queries.
        tokens: Longest answer.
        judge: As `--judged-by` names it.
        methods: By name, the options of `trimtab learn` for a tone.
        checked: Those for what the tone is composed with.
        seed: Chooses queries and phrasings.
        trial: Whether it is but a trial of a larger measurement.
    """

    model: str
    tones: tuple[Instruction, ...]
    composed: tuple[Instruction, ...]
    queries: int
    tokens: int
    judge: str
    methods: dict[str, tuple[str, ...]]
    checked: tuple[str, ...]
    seed: int = 0
    trial: bool = False

    def trial_of(self, share: float) -> Settings:
        """The same with so much of everything, learning included; 1 changes nothing."""
        if share >= 1:
            return self
        less = ("--validation", "2")
        shorter = {"distill": (*less, "--steps", "4", "--blocks", "1")}
        return dataclasses.replace(
            self,
            tones=self.tones[: max(1, round(len(self.tones) * share))],
            composed=self.composed[: max(1, round(len(self.composed) * share))],
            queries=max(2, round(self.queries * share)),
            methods={name: (*how, *shorter.get(name, less)) for name, how in self.methods.items()},
            checked=(*self.checked, *shorter["distill"]),
            trial=True,
        )

    @property
    def judgements(self) -> int:
        """How many answers a judge reads, contrast examples and labelled answers left out.

        Of each query those plain, told, and by each method steered and both; composed, all but the plain one again.
        """
        of_tones = len(self.tones) * (2 + 2 * len(self.methods))
        return self.queries * (of_tones + 3 * len(self.composed) * bool(self.tones))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON, the instructions by their labels."""
        found = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        for name in ("tones", "composed"):
            found[name] = [one.label for one in found[name]]
        return found
