"""An instruction: a type of the catalogue with its parameters set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.constraint import Constraint
from trimtab.errors import InstructionError
from trimtab.instructions import wording
from trimtab.instructions.demands import Demands, clash
from trimtab.instructions.judgement import Check, Judge, Judgement, Question
from trimtab.instructions.loose import variants
from trimtab.instructions.phrasings import SPLITS, Split

if TYPE_CHECKING:
    from trimtab.instructions.kinds import InstructionType


class Instruction:
    """One verifiable constraint on an answer: a type with its parameters set. Immutable and hashable.

    Two are equal when their type's name and their parameters are.

    Attributes:
        type: The type it was made from.
        params: Its parameters as a plain dictionary that JSON can hold, defaults filled in.
    """

    __slots__ = ("_check", "_judge", "_key", "params", "type")
    type: InstructionType
    params: dict[str, Any]
    _check: Check | None
    _judge: Judge | None
    _key: tuple[str, str]

    def __init__(self, kind: InstructionType, params: Mapping[str, Any]) -> None:
        """Keep validated parameters. Call an `InstructionType` instead of this.

        Raises:
            InstructionError: If the parameters are at odds with each other.
        """
        put = object.__setattr__
        put(self, "type", kind)
        put(self, "params", dict(params))
        put(self, "_key", (kind.name, json.dumps(self.params, sort_keys=True)))
        put(self, "_check", kind._maker(**self.params))
        put(self, "_judge", None)
        if self._check is not None and kind.question is not None:
            raise InstructionError(f"{kind.name} has a check and a judge's question; keep one of them")

    @property
    def name(self) -> str:
        """The type's short name."""
        return self.type.name

    @property
    def label(self) -> str:
        """Name and parameters, as in ``sentences(at_most=2)``."""
        shown = ", ".join(
            f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in self.params.items()
        )
        return f"{self.name}({shown})" if shown else self.name

    @property
    def can_check(self) -> bool:
        """Whether there is a check, or a judge in its place; one given as mere phrasings has neither."""
        return self._check is not None or self._judge is not None

    @property
    def question(self) -> Question | None:
        """What a judge is asked about a response, where no program can check it."""
        return self.type.question

    @property
    def judge_in_place(self) -> Judge | None:
        """The judge in the place of a check; None where there is a check, or nobody yet (see `judged_by`)."""
        return self._judge

    def judged_by(self, judge: Judge | None) -> Instruction:
        """The same instruction with a judge in the place of a check; itself where it has no question for one.

        It is equal to the one without. Copies and other processes do not get the judge.

        Args:
            judge: Who answers its question; None for nobody.
        """
        if judge is not None and not hasattr(judge, "name"):
            raise InstructionError(
                f"judge must be one of trimtab.measure.judges, or None, not {arguments.in_words(judge)}"
            )
        if self.question is None:
            return self
        judged = Instruction(self.type, self.params)
        object.__setattr__(judged, "_judge", judge)
        return judged

    def to_dict(self) -> dict[str, Any]:
        """``{"name": ..., "params": {...}}``, which `from_dict` reads back."""
        return {"name": self.name, "params": json.loads(self._key[1])}

    def phrasings(self, split: Split) -> list[str]:
        """Its phrasings of one part with the parameters put in, ready to stand after a query.

        Args:
            split: ``"learning"``, ``"validation"`` or ``"test"``.

        Raises:
            InstructionError: If there is no such part.
        """
        if split not in SPLITS:
            raise InstructionError(
                f"there is no split {arguments.in_words(split)}; phrasings come in {', '.join(SPLITS)}"
            )
        values = dict(self.params)
        if self.type._fields:
            values |= self.type._fields(dict(self.params))
        templates: tuple[str, ...] = getattr(self.type.phrasings_for(self.params), split)
        return [wording.fill(template, values, self.name) for template in templates]

    def check(self, response: str) -> bool:
        """Whether the response satisfies the instruction as it is (IFEval's strict check).

        Of a response that is undecided (see `judge`) it says no.

        Raises:
            InstructionError: If there is no check, or it needs a query first.
        """
        return bool(self._verdict(response))

    def check_loose(self, response: str) -> bool:
        """Whether one of IFEval's eight readings of the response satisfies the instruction.

        Raises:
            InstructionError: If there is no check, or it needs a query first.
        """
        check = self._ready()
        arguments.text(response, "response", InstructionError)
        if self._judge is not None:
            return self.check(response)
        return any(bool(text.strip() and check(text)) for text in dict.fromkeys(variants(response)))

    def judge(self, response: str) -> Judgement:
        """Both checks, whether they could decide, and what judged.

        Raises:
            InstructionError: If there is no check, or it needs a query first.
        """
        verdict = self._verdict(response)
        if self._judge is not None:
            return Judgement(bool(verdict), bool(verdict), verdict is None, {"judge": self._judge.name})
        # The first of the eight readings is the response itself, so that loose follows from strict.
        loose = bool(verdict) or self.check_loose(response)
        notes = self.type._notes() if self.type._notes else {}
        return Judgement(bool(verdict), loose, verdict is None and not loose, notes)

    def _verdict(self, response: str) -> bool | None:
        check = self._ready()
        arguments.text(response, "response", InstructionError)
        return check(response) if response.strip() else False

    def conflicts_with(self, other: Instruction) -> str | None:
        """The reason why no answer can satisfy both, or None. Symmetric."""
        arguments.instance(
            other, "other", Instruction, "an instruction (instructions.get gives one)", InstructionError
        )
        fixed = {self.type.clash_with(other.name), other.type.clash_with(self.name)}
        return min(filter(None, fixed), default=None) or clash(self.demands(), other.demands())

    def demands(self) -> Demands:
        """What it asks of a response, as far as that can be compared with others."""
        return self.type._demands(dict(self.params)) if self.type._demands else Demands()

    @property
    def prefix_closed(self) -> bool:
        """Whether an answer that was cut off can be judged by what there is of it.

        So it is where every beginning of an answer that passes passes too, once it is long enough to be judged: not
        blank, and, where letters or the language matter, a few words long. Of a tone it is as good as true: a judge
        reads what there is.
        """
        declared = self.type._prefix_closed
        return declared(dict(self.params)) if callable(declared) else declared

    def constraint(self, query: str | None = None) -> Constraint | None:
        """The grammar that answers must match so as to follow it, or None where none is known.

        Args:
            query: What is asked, for an instruction that depends on it (see `for_query`).
        """
        ready = self if query is None else self.for_query(query)
        if ready.type._constraint is None or ready._wants_query:
            return None
        return ready.type._constraint(dict(ready.params))

    def rewrite(self, text: str) -> str | None:
        """An answer changed by a program, its content untouched, so that it follows the instruction.

        Args:
            text: An answer, whether it follows the instruction or not.

        Returns:
            The answer itself where it passes; one that passes; or None, where no program can or none that passes.
        """
        if self._check is None or self._wants_query or not text.strip():
            return None
        if self.check(text):
            return text
        changed = self.type._rewrite(text, dict(self.params)) if self.type._rewrite else None
        return changed if changed is not None and self.check(changed) else None

    def for_query(self, query: str) -> Instruction:
        """The instruction for one query: ``repeat_prompt`` learns what to repeat, all others stay themselves."""
        wanted = self.type._takes_query
        if wanted is None or wanted in self.params:
            return self
        return self.type(**self.params, **{wanted: query}).judged_by(self._judge)

    @property
    def _wants_query(self) -> bool:
        return self.type._takes_query is not None and self.type._takes_query not in self.params

    def _ready(self) -> Check:
        judge, question = self._judge, self.question
        if judge is not None and question is not None:
            return lambda response: judge.passes(question, response)
        if question is not None:
            raise InstructionError(
                f"{self.name} has no check but a question for a judge, and nobody to answer it; name one: "
                "--judged-by self, or instruction.judged_by(judge)"
            )
        if self._check is None:
            raise InstructionError(
                f"{self.name} has phrasings but no check, so nothing can say whether a response satisfies it; "
                "give it a regex, a json_schema, a decorated function, or a question for a judge"
            )
        if self._wants_query:
            raise InstructionError(
                f"{self.name} needs {self.type._takes_query} to check a response; set it, or use for_query(query)"
            )
        return self._check

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"an Instruction cannot be changed; make another with {self.name}(...)")

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Instruction) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return self.label
