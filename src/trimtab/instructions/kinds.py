"""A type of instruction: its phrasings, its parameters, and what makes its checks."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from trimtab.constraint import Constraint
from trimtab.errors import InstructionError
from trimtab.instructions.base import Instruction
from trimtab.instructions.demands import Demands
from trimtab.instructions.judgement import Check, Question
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings

Maker = Callable[..., Check | None]
"""Takes an instruction's parameters and returns its check, or None where there is no way to check."""

Constrain = Callable[[dict[str, Any]], Constraint | None]
"""Takes an instruction's parameters and returns what an answer must match to follow it, or None."""

Rewrite = Callable[[str, dict[str, Any]], str | None]
"""Takes an answer and the parameters and returns the answer changed to follow the instruction, or None."""


class InstructionType:
    """One kind of instruction. Calling it with parameters gives an `Instruction`.

    Made by the decorator `instruction` or by `load_file`; `catalogue` lists those that exist.

    Attributes:
        name: Short name, such as ``"bullets"``.
        ifeval_id: Its id in IFEval, or None.
        summary: What it asks for, in one sentence.
        family: The group it is listed in.
        parameters: Its parameters, in order.
        cases: Phrasings by case; most types have the single case ``""``, others one per relation.
        example: Parameters for documentation.
        question: What a judge is asked about a response, where there is no check; or None.
        source: The file it was read from, or None.
        written: What that file says of it, or None.
    """

    def __init__(
        self,
        name: str,
        maker: Maker,
        cases: Mapping[str, Phrasings],
        *,
        summary: str = "",
        family: str = "custom",
        ifeval_id: str | None = None,
        parameters: tuple[Parameter, ...] = (),
        case: Callable[[dict[str, Any]], str] | None = None,
        fields: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        demands: Callable[[dict[str, Any]], Demands] | None = None,
        notes: Callable[[], dict[str, str]] | None = None,
        conflicts: Mapping[str, str] | None = None,
        example: Mapping[str, Any] | None = None,
        takes_query: str | None = None,
        constraint: Constrain | None = None,
        rewrite: Rewrite | None = None,
        prefix_closed: bool | Callable[[dict[str, Any]], bool] = False,
        question: Question | None = None,
        source: str | None = None,
        written: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.summary = summary
        self.family = family
        self.ifeval_id = ifeval_id
        self.parameters = parameters
        self.cases = dict(cases)
        shown = {p.name: p.example for p in parameters if p.example is not None}
        self.example = dict(example) if example is not None else shown
        self._maker = maker
        self._case = case
        self._fields = fields
        self._demands = demands
        self._notes = notes
        self._takes_query = takes_query
        self._constraint = constraint
        self._rewrite = rewrite
        self._prefix_closed = prefix_closed
        self.question = question
        self.source = source
        self.written = written
        self.declared_conflicts = dict(conflicts or {})
        self._clashes = self.declared_conflicts

    @property
    def phrasings(self) -> Phrasings:
        """The templates of all cases together."""
        return sum(self.cases.values(), Phrasings((), (), ()))

    def definition(self) -> str:
        """Names what it is made of: `"sha256:..."` over its phrasings and its check, as written in its file or in code.

        What the code of a check calls is not looked at.
        """
        check: Any = self.written
        if check is None:
            try:
                check = inspect.getsource(self._maker)
            except (OSError, TypeError):  # made without a file
                check = getattr(self._maker, "__qualname__", "")
        parts = [{case: vars(phrasings) for case, phrasings in self.cases.items()}, check]
        parts += [] if self.question is None else [vars(self.question)]
        text = json.dumps(parts, sort_keys=True, default=str)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def conflicts(self) -> frozenset[str]:
        """Names of the types it can never go with, whatever the parameters."""
        return frozenset(self._clashes)

    def settle_conflicts(self, clashes: Mapping[str, str]) -> None:
        """Take the reasons by name that the register found: its own, and those that others declare with it."""
        self._clashes = dict(clashes)

    def clash_with(self, name: str) -> str | None:
        """The reason why it can never go with the type of that name, or None."""
        return self._clashes.get(name)

    def __call__(self, *values: Any, **params: Any) -> Instruction:
        """Set the parameters, by position or by name; None means "not given".

        Raises:
            InstructionError: If a parameter is missing, unknown or has a value it cannot have.
        """
        names = [parameter.name for parameter in self.parameters]
        if len(values) > len(names):
            raise InstructionError(f"{self.name} takes {len(names)} parameters, not {len(values)}")
        given = dict(zip(names, values, strict=False))
        if twice := sorted(given.keys() & params.keys()):
            raise InstructionError(f"{self.name}: {twice[0]} is given twice")
        given |= params
        if unknown := sorted(key for key in given if key not in names):
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            raise InstructionError(f"{self.name} has no parameter {unknown[0]!r}; {takes}")
        kept = {}
        for parameter in self.parameters:
            value = given.get(parameter.name)
            if value is not None:
                kept[parameter.name] = parameter.validate(self.name, value)
            elif parameter.required:
                raise InstructionError(
                    f"{self.name} needs {parameter.name}: {parameter.help or parameter.describe()}"
                )
            elif parameter.default is not None:
                kept[parameter.name] = parameter.default
        return Instruction(self, kept)

    @property
    def abilities(self) -> tuple[str, ...]:
        """What it has beside phrasings and a check: of "constraint", "exact", "rewrite" and "prefix_closed".

        As it is with the example's parameters, and for some query: "exact" says that everything that the constraint
        admits is known to pass.
        """
        try:
            shown = self(**self.example).for_query("What is it?")
        except InstructionError:  # it has no example
            return ()
        constraint = shown.constraint()
        has = {
            "constraint": constraint is not None,
            "exact": constraint is not None and constraint.exact,
            "rewrite": self._rewrite is not None,
            "prefix_closed": shown.prefix_closed,
        }
        return tuple(name for name, there in has.items() if there)

    def phrasings_for(self, params: Mapping[str, Any]) -> Phrasings:
        """The templates that suit these parameters (at least and at most are worded differently, say)."""
        return self.cases[self._case(dict(params)) if self._case else next(iter(self.cases))]

    def __repr__(self) -> str:
        return f"<instruction type {self.name}>"
