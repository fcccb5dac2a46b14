"""The two classes of the catalogue: a type of instruction, and an instruction with its parameters set."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from trimtab.constraint import Constraint
from trimtab.errors import InstructionError
from trimtab.instructions import wording
from trimtab.instructions.demands import Demands, clash
from trimtab.instructions.loose import variants
from trimtab.instructions.parameters import Parameter

Split = Literal["learning", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Check = Callable[[str], bool]
"""Says of a response whether it satisfies one instruction."""

Maker = Callable[..., Check | None]
"""Takes an instruction's parameters and returns its check, or None where there is no way to check."""


Constrain = Callable[[dict[str, Any]], Constraint | None]
"""Takes an instruction's parameters and returns what an answer must match to follow it, or None."""

Rewrite = Callable[[str, dict[str, Any]], str | None]
"""Takes an answer and the parameters and returns the answer changed to follow the instruction, or None."""


@dataclass(frozen=True)
class Phrasings:
    """Ways to say an instruction, as templates, in three parts that share none.

    Steering is learned from ``learning``, tuned on ``validation`` and measured on ``test``.
    """

    learning: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def divide(cls, templates: Sequence[str]) -> Self:
        """Split a plain list: the last two fifths are held out. Fewer than three phrasings serve all parts."""
        texts = tuple(dict.fromkeys(templates))
        if len(texts) < 3:
            return cls(texts, texts, texts)
        held_out = max(1, len(texts) // 5)
        return cls(texts[: -2 * held_out], texts[-2 * held_out : -held_out], texts[-held_out:])

    @classmethod
    def lines(cls, *, learning: str, validation: str, test: str) -> Self:
        """Read the three parts from texts with one template per line."""
        parts = (
            tuple(line.strip() for line in text.strip().split("\n")) for text in (learning, validation, test)
        )
        return cls(*parts)

    def __add__(self, other: Phrasings) -> Phrasings:
        return Phrasings(
            self.learning + other.learning, self.validation + other.validation, self.test + other.test
        )


@dataclass(frozen=True)
class Judgement:
    """What a response was found to be.

    Attributes:
        strict: The response as it is satisfies the instruction.
        loose: It does in at least one of IFEval's eight readings.
        notes: What judged where that can differ between machines, such as ``{"splitter": "nltk-punkt"}``.
    """

    strict: bool
    loose: bool
    notes: Mapping[str, str] = field(default_factory=dict)


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


class Instruction:
    """One verifiable constraint on an answer: a type with its parameters set. Immutable and hashable.

    Two are equal when their type's name and their parameters are.

    Attributes:
        type: The type it was made from.
        params: Its parameters as a plain dictionary that JSON can hold, defaults filled in.
    """

    __slots__ = ("_check", "_key", "params", "type")
    type: InstructionType
    params: dict[str, Any]
    _check: Check | None
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
        """Whether there is a check; one given as mere phrasings has none."""
        return self._check is not None

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
            raise InstructionError(f"phrasings come in {', '.join(SPLITS)}, not {split!r}")
        values = dict(self.params)
        if self.type._fields:
            values |= self.type._fields(dict(self.params))
        templates: tuple[str, ...] = getattr(self.type.phrasings_for(self.params), split)
        return [wording.fill(template, values, self.name) for template in templates]

    def check(self, response: str) -> bool:
        """Whether the response satisfies the instruction as it is (IFEval's strict check).

        Raises:
            InstructionError: If there is no check, or it needs a query first.
        """
        check = self._ready()
        return bool(response.strip()) and check(response)

    def check_loose(self, response: str) -> bool:
        """Whether one of IFEval's eight readings of the response satisfies the instruction.

        Raises:
            InstructionError: If there is no check, or it needs a query first.
        """
        check = self._ready()
        return any(text.strip() and check(text) for text in dict.fromkeys(variants(response)))

    def judge(self, response: str) -> Judgement:
        """Both checks, and what judged.

        Raises:
            InstructionError: If there is no check, or it needs a query first.
        """
        strict = self.check(response)
        # The first of the eight readings is the response itself, so that loose follows from strict.
        loose = strict or self.check_loose(response)
        return Judgement(strict, loose, self.type._notes() if self.type._notes else {})

    def conflicts_with(self, other: Instruction) -> str | None:
        """The reason why no answer can satisfy both, or None. Symmetric."""
        fixed = {self.type.clash_with(other.name), other.type.clash_with(self.name)}
        return min(filter(None, fixed), default=None) or clash(self.demands(), other.demands())

    def demands(self) -> Demands:
        """What it asks of a response, as far as that can be compared with others."""
        return self.type._demands(dict(self.params)) if self.type._demands else Demands()

    @property
    def prefix_closed(self) -> bool:
        """Whether an answer that was cut off can be judged by what there is of it.

        So it is where every beginning of an answer that passes passes too, once it is long enough to be judged: not
        blank, and, where letters or the language matter, a few words long.
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
        return self.type(**self.params, **{wanted: query})

    @property
    def _wants_query(self) -> bool:
        return self.type._takes_query is not None and self.type._takes_query not in self.params

    def _ready(self) -> Check:
        if self._check is None:
            raise InstructionError(
                f"{self.name} has phrasings but no check, so nothing can say whether a response satisfies it; "
                "give it a regex, a json_schema or a decorated function"
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
