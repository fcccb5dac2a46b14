"""Teachers: where the answers of lessons come from, and what the student is to expect at their tokens.

| teacher | answers to | held to the instruction by |
|---|---|---|
| `told` | the query and the instruction | itself |
| `told+constrained` | the query and the instruction | a constraint while it answers |
| `constrained` | the query alone | a constraint while it answers |
| `rewritten` | the query alone | a program that changes the answer |
| `steered` | as `told`, steered by what was learned so far | itself |

What the student expects is the teacher's distribution given the prompt that the teacher answered; of a constrained
teacher without the forbidden tokens, renormalised. Given the query alone that is the least change that obeys. Of a
rewritten answer it is what the model expected in the *original*, at the places that the program left (`aligning`), held
to the constraint where there is one: reading what was changed, it would no longer say what it would have said.

(Another round with a better teacher is expert iteration: T. Anthony, Z. Tian, D. Barber: Thinking Fast and Slow with
Deep Learning and Tree Search, 2017.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from trimtab import arguments
from trimtab.constraint import Constraint
from trimtab.engines.ends import end_tokens
from trimtab.errors import SteeringError, TrimtabError
from trimtab.instructions.together import constraint_of
from trimtab.learn.distillation.lengths import before_loop
from trimtab.measure.responses import follows

if TYPE_CHECKING:
    from trimtab.engines.base import Generation
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.instructions import Instruction

Teacher = Literal["told", "told+constrained", "constrained", "rewritten", "steered"]
TEACHERS: tuple[Teacher, ...] = get_args(Teacher)

_SENTENCES = re.compile(r"(?s).*[.!?][\"')\]*]*(?=\s|$)")


@dataclass(frozen=True)
class Answer:
    """What a lesson teaches to say.

    Attributes:
        tokens: Token ids, with the end token where the answer came to its end.
        ended: Whether it did.
        text: The same as text.
        original: Token ids of the answer that a program changed into this one, its end token included; empty where
            none did.
        thought: Token ids that the teacher wrote before: what it thought.
    """

    tokens: tuple[int, ...]
    ended: bool
    text: str
    original: tuple[int, ...] = ()
    thought: tuple[int, ...] = ()


@dataclass(frozen=True)
class Teaching:
    """What one teacher gives for instructions that are to be followed all at once.

    Attributes:
        engine: The model.
        teacher: Which teacher.
        instructions: What answers shall follow.
    """

    engine: TransformersEngine
    teacher: Teacher
    instructions: tuple[Instruction, ...]

    @property
    def is_told(self) -> bool:
        """Whether the prompt that it answers says the instructions."""
        return self.teacher in ("told", "told+constrained", "steered")

    @property
    def is_held(self) -> bool:
        """Whether it is held to a constraint while it answers."""
        return self.teacher in ("told+constrained", "constrained")

    def constraint(self, query: str) -> Constraint | None:
        """What the distribution that the student is to expect is held to; None where to nothing."""
        if self.teacher in ("told", "steered"):
            return None
        found = constraint_of(self.instructions, query)
        if found is not None:
            found = replace(found, other_case=True)
        return None if self.teacher == "rewritten" and self._cannot_hold(found) else found

    def answer(self, given: Generation, query: str, other: Instruction | None = None) -> Answer | None:
        """What is to be learned of an answer; None where it does not follow, or was cut off before that can be said.

        One that was cut off teaches what there is of it, without an end, where every beginning of a right answer is
        right or a constraint held it; a plain one is rewritten up to its last whole sentence. Another instruction of
        the prompt has to be followed by a teacher that nothing but its prompt tells what to do; any other gives what
        the model makes of it.
        """
        wanted = [*self.instructions, *([other] if other and self.teacher in ("told", "steered") else [])]
        read = self.read(given, wanted)
        if read is None:
            return None
        text, tokens, ended = read
        original: tuple[int, ...] = ()
        if self.teacher == "rewritten":
            before = tokens
            changed = rewritten(text, query, self.instructions)
            if changed is None:
                return None
            if changed != given.text:
                tokens = tuple(self.engine.tokenizer(changed, add_special_tokens=False)["input_ids"])
            if not ended:  # capitals, say, take more tokens: as many as it was cut off at
                tokens = tokens[: len(given.answer_ids)]
                changed = self._text(tokens)
            text = changed
            if not self._admits(query, (*tokens, end_token(self.engine)) if ended else tokens):
                return None
            original = (*before, end_token(self.engine)) if given.finished else tuple(before)
        if not (tokens or ended) or not follows(text, query, wanted):
            return None
        whole = (*tokens, end_token(self.engine)) if ended else tuple(tokens)
        return Answer(whole, ended, text, original, given.token_ids[: given.begins])

    def read(
        self, given: Generation, wanted: Sequence[Instruction]
    ) -> tuple[str, tuple[int, ...], bool] | None:
        """What there is of an answer to be judged: its text, its tokens, and whether it counts as ended.

        None of one that was cut off before anything can be said.
        """
        if given.finished:
            return given.text, given.answer_ids, True
        beginning_will_do = all(one.prefix_closed for one in wanted) and bool(wanted)
        if not (beginning_will_do or self.is_held or self.teacher == "rewritten"):
            return None
        tokens = before_loop(given.answer_ids)
        text = self._text(tokens)
        if self.teacher == "rewritten" and not beginning_will_do:
            return _whole_sentences(text), tokens, True
        return text, tokens, False

    def why_not(self, query: str) -> str | None:
        """Why this teacher cannot teach these instructions on this model; None where it can, as far as can be told."""
        if not self.is_held:
            return None
        named = " and ".join(one.label for one in self.instructions)
        constraint = self.constraint(query)
        if constraint is None:
            return f"no constraint is known that answers which follow {named} match"
        return self._cannot_hold(constraint)

    def _cannot_hold(self, constraint: Constraint | None) -> str | None:
        try:
            if constraint is not None:
                self.engine.matchers.matcher(constraint)
        except TrimtabError as error:
            return str(error)
        return None

    def _text(self, tokens: Sequence[int]) -> str:
        return self.engine.thoughts.parts(tokens, self.engine.thoughts.in_answer).answer

    def _admits(self, query: str, tokens: Sequence[int]) -> bool:
        """Whether the constraint, if there is one, admits what a program made, up to its end if it has one."""
        constraint = self.constraint(query)
        if constraint is None:
            return True
        from trimtab.engines.constraining import allowed

        try:
            allowed(self.engine, constraint, tokens)
        except TrimtabError:
            return False
        return True


def check_teacher(teacher: str | None) -> None:
    """Make sure that there is such a teacher.

    Raises:
        SteeringError: There is not.
    """
    if teacher is not None:
        arguments.one_of(teacher, "a teacher", TEACHERS, SteeringError)


def rewritten(text: str, query: str, instructions: Sequence[Instruction]) -> str | None:
    """An answer changed by programs so that it follows all instructions; None where they cannot."""
    changed: str | None = text
    for one in instructions:
        changed = None if changed is None else one.for_query(query).rewrite(changed)
    return changed if changed is not None and follows(changed, query, instructions) else None


def end_token(engine: TransformersEngine) -> int:
    """The token that lessons end with: the one by which the model itself ends an answer."""
    ends = end_tokens(engine.model.generation_config, engine.tokenizer)
    return ends[0] if ends else 0


def _whole_sentences(text: str) -> str:
    """The text up to the end of its last whole sentence; all of it where there is none."""
    found = _SENTENCES.match(text)
    return found.group() if found else text
