"""The register of instruction types: an explicit dictionary, the decorator that fills it, and look-up by name."""

from __future__ import annotations

import copyreg
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trimtab.errors import InstructionError
from trimtab.instructions.base import Instruction
from trimtab.instructions.demands import Demands
from trimtab.instructions.judgement import Question
from trimtab.instructions.kinds import Constrain, InstructionType, Maker, Rewrite
from trimtab.instructions.parameters import from_signature
from trimtab.instructions.phrasings import Phrasings
from trimtab.plugins import load_each

ENTRY_POINT_GROUP = "trimtab.instructions"


class Register:
    """Instruction types by short name and by IFEval id."""

    def __init__(self) -> None:
        self._types: dict[str, InstructionType] = {}
        self._ids: dict[str, str] = {}

    def add(self, added: InstructionType, *, replace: bool = False) -> InstructionType:
        """Add a type and make its conflicts mutual; refuse a name or an id that is taken, unless ``replace``."""
        if not replace:
            self._refuse_taken(added)
        self._types[added.name] = added
        if added.ifeval_id:
            self._ids[added.ifeval_id] = added.name
        self._settle()
        return added

    def add_all(
        self, added: Sequence[InstructionType], *, replace: bool = False
    ) -> tuple[InstructionType, ...]:
        """Add several types, or none of them if one is refused."""
        if not replace:
            for each in added:
                self._refuse_taken(each)
        return tuple(self.add(each, replace=replace) for each in added)

    def _refuse_taken(self, added: InstructionType) -> None:
        for taken in filter(None, (added.name, added.ifeval_id)):
            known = self._types.get(self._ids.get(taken, taken))
            # A file may be read again after a change; what it defines is then new.
            if known is not None and (known.source is None or known.source != added.source):
                raise InstructionError(
                    f"there is an instruction {taken!r} already; choose another name or pass replace=True"
                )

    def _settle(self) -> None:
        """Make conflicts mutual: what one type declares holds for the other too."""
        mutual = {name: dict(kind.declared_conflicts) for name, kind in self._types.items()}
        for name, kind in self._types.items():
            for other, reason in kind.declared_conflicts.items():
                mutual.get(other, {}).setdefault(name, reason)
        for name, kind in self._types.items():
            kind.settle_conflicts(mutual[name])

    def find(self, name: str) -> InstructionType:
        """Look a type up by short name or IFEval id; if there is none, the message suggests the nearest names."""
        if not isinstance(name, str):
            raise InstructionError(f"the name of an instruction is a text, not {name!r:.60}")
        found = self._types.get(self._ids.get(name, name))
        if found is not None:
            return found
        known = [*self._types, *self._ids]
        by_tail = {ifeval_id.split(":")[-1]: ifeval_id for ifeval_id in self._ids}
        near = difflib.get_close_matches(name.lower(), [*known, *by_tail], n=3, cutoff=0.5)
        near = list(dict.fromkeys(by_tail.get(match, match) for match in near))
        hint = f"did you mean {' or '.join(near)}?" if near else "`trimtab instructions` lists them all"
        raise InstructionError(f"there is no instruction {name!r:.100}; {hint}")

    def all(self) -> tuple[InstructionType, ...]:
        """Every type, in the order in which they were added."""
        return tuple(self._types.values())

    def remove(self, name: str) -> None:
        """Forget a type, and the conflicts others have with it."""
        gone = self.find(name)
        del self._types[gone.name]
        if gone.ifeval_id:
            del self._ids[gone.ifeval_id]
        self._settle()


REGISTER = Register()
_plugins_wanted = True


def instruction(
    name: str | None = None,
    *,
    phrasings: Phrasings | Sequence[str] | Mapping[str, Phrasings],
    summary: str | None = None,
    family: str = "custom",
    ifeval_id: str | None = None,
    case: Callable[[dict[str, Any]], str] | None = None,
    fields: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    demands: Callable[[dict[str, Any]], Demands] | None = None,
    notes: Callable[[], dict[str, str]] | None = None,
    conflicts: Iterable[str] | Mapping[str, str] = (),
    example: Mapping[str, Any] | None = None,
    takes_query: str | None = None,
    constraint: Constrain | None = None,
    rewrite: Rewrite | None = None,
    prefix_closed: bool | Callable[[dict[str, Any]], bool] = False,
    judge: str | Question | None = None,
    replace: bool = False,
) -> Callable[[Maker], InstructionType]:
    """Turn a function into an instruction type and register it.

    The function takes the instruction's parameters (annotated; ``Annotated[int, Parameter(...)]`` to say more) and
    returns its check, a function from a response to true or false, or None where a judge is asked instead. It may
    raise `InstructionError` for parameters that are at odds with each other. Its docstring's first line is the summary.

    Args:
        name: Short name; the function's own by default.
        phrasings: A list of templates, which is divided into learning, validation and test; or `Phrasings`; or
            `Phrasings` by case.
        summary: One sentence on what it asks for.
        family: The group it is listed in.
        ifeval_id: Its id in IFEval.
        case: Chooses the case from the parameters when there are several.
        fields: Further values for the templates, derived from the parameters.
        demands: What it asks, for finding conflicts that depend on parameters.
        notes: What judges where that can differ between machines.
        conflicts: Names of types it can never go with, optionally with the reason.
        example: Parameters for documentation.
        takes_query: Name of the parameter that `Instruction.for_query` fills in.
        constraint: Makes of the parameters the grammar that an answer must match so as to follow it.
        rewrite: Changes an answer (its first argument) so that it follows it, or returns None.
        prefix_closed: Whether every beginning of an answer that passes passes too (see `Instruction`), or a function
            of the parameters that says so.
        judge: The question that a judge answers in the place of a check; as `Question` with contrast examples.
        replace: Replace a type of the same name instead of refusing.

    Raises:
        InstructionError: If the name is taken, there is no phrasing, or a parameter is not annotated.
    """

    def register(maker: Maker) -> InstructionType:
        short = name or str(getattr(maker, "__name__", ""))
        if isinstance(phrasings, Mapping):
            cases = dict(phrasings)
        else:
            cases = {"": phrasings if isinstance(phrasings, Phrasings) else Phrasings.divide(phrasings)}
        if isinstance(phrasings, str) or not all(case.learning for case in cases.values()) or not cases:
            raise InstructionError(f"{short}: phrasings must be a list of at least one text")
        reasons = conflicts if isinstance(conflicts, Mapping) else dict.fromkeys(conflicts, "")
        first_line = (inspect.getdoc(maker) or "").split("\n")[0]
        made = InstructionType(
            short,
            maker,
            cases,
            summary=summary or first_line,
            family=family,
            ifeval_id=ifeval_id,
            parameters=from_signature(maker),
            case=case,
            fields=fields,
            demands=demands,
            notes=notes,
            conflicts={o: why or f"{short} cannot go with {o}" for o, why in reasons.items()},
            example=example,
            takes_query=takes_query,
            constraint=constraint,
            rewrite=rewrite,
            prefix_closed=prefix_closed,
            question=Question(judge) if isinstance(judge, str) else judge,
        )
        return REGISTER.add(made, replace=replace)

    return register


def get_type(name: str) -> InstructionType:
    """The type of that short name or IFEval id.

    Raises:
        InstructionError: If there is none; the message suggests the nearest names.
    """
    _load_plugins()
    return REGISTER.find(name)


def get(name: str, /, *values: Any, **params: Any) -> Instruction:
    """The instruction of that short name or IFEval id, with these parameters by position or by name.

    Raises:
        InstructionError: If there is no such instruction or a parameter is wrong.
    """
    return get_type(name)(*values, **params)


def from_dict(data: Mapping[str, Any]) -> Instruction:
    """Read back what `Instruction.to_dict` gave.

    Raises:
        InstructionError: If it is not of that form, or names what does not exist.
    """
    given: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    name, params = given.get("name"), given.get("params") or {}
    if not isinstance(name, str) or not isinstance(params, Mapping):
        raise InstructionError(
            f'an instruction is given as {{"name": "...", "params": {{...}}}}, not {data!r:.60}'
        )
    return get(name, **params)


# Copies, and other processes, get the instruction of their own register: its check may be no function that is pickled.
copyreg.pickle(Instruction, lambda one: (from_dict, (one.to_dict(),)))


def names() -> list[str]:
    """The short names of all types, in the order of the catalogue."""
    return [listed.name for listed in catalogue()]


def catalogue() -> tuple[InstructionType, ...]:
    """All types: the built-in ones, then those of plug-ins and the user's own."""
    _load_plugins()
    return REGISTER.all()


def _load_plugins() -> None:
    """Import what other packages declare under the entry point group, once, when the catalogue is first used."""
    global _plugins_wanted
    if not _plugins_wanted:
        return
    _plugins_wanted = False
    load_plugins()


def load_plugins() -> None:
    """Import what installed packages declare under the entry point group ``trimtab.instructions``.

    An entry point names an instruction type, or a module whose decorated functions register themselves. One that
    fails is skipped with a warning, so that a broken package does not take the catalogue with it.
    """

    def take(loaded: Any) -> None:
        if isinstance(loaded, InstructionType) and loaded not in REGISTER.all():
            REGISTER.add(loaded)

    load_each(ENTRY_POINT_GROUP, "the instructions", take)
