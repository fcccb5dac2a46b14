"""Phrasings and relations shared by all instructions that count something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from trimtab.constraint import Constraint
from trimtab.errors import InstructionError
from trimtab.instructions.demands import Demands, Range, at_least, at_most
from trimtab.instructions.judgement import Check
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import Phrasings

LESS_THAN: Final = "less than"
AT_LEAST: Final = "at least"

Relation = Annotated[
    str, Parameter("how the number is meant", choices=(LESS_THAN, AT_LEAST), example=AT_LEAST)
]

# «unit» stands for the noun of what is counted: a field that picks singular or plural by the number n.
_AT_LEAST = Phrasings.lines(
    learning="""
        Write at least {n} «unit».
        Use at least {n:word} «unit».
        Your answer must have at least {n} «unit».
        Answer with {n} or more «units».
        Make your answer at least {n:word} «unit» long.
        Give me no fewer than {n} «unit».
        Your response should contain at least {n} «unit».
        I need at least {n:word} «unit» in the answer.
        The answer needs {n:word} or more «units».
        Please reply in at least {n} «unit».
        Use a minimum of {n} «unit».
        Do not write fewer than {n:word} «unit».
    """,
    validation="""
        Your answer should be at least {n} «unit» long.
        Please use {n:word} or more «units».
        Write a minimum of {n} «unit».
    """,
    test="""
        Reply with at least {n:word} «unit».
        The response must be no fewer than {n} «unit» long.
        Please give me at least {n} «unit» in your answer.
    """,
)
_AT_MOST = Phrasings.lines(
    learning="""
        Write at most {n} «unit».
        Use at most {n:word} «unit».
        Your answer must have at most {n} «unit».
        Answer in {n:word} «unit» or less.
        Use no more than {n} «unit».
        Keep your answer to at most {n:word} «unit».
        Your response should contain no more than {n:word} «unit».
        I want at most {n} «unit» in the answer.
        Do not write more than {n} «unit».
        Please reply in {n} «unit» at most.
        Use a maximum of {n:word} «unit».
        Limit the answer to {n} «unit».
    """,
    validation="""
        Your answer should be at most {n:word} «unit» long.
        Please write no more than {n} «unit».
        Do not use more than {n:word} «unit».
    """,
    test="""
        Reply with at most {n:word} «unit».
        Keep the response to no more than {n} «unit».
        Please limit your answer to {n:word} «unit» at most.
    """,
)
_EXACTLY = Phrasings.lines(
    learning="""
        Write exactly {n} «unit».
        Use exactly {n:word} «unit».
        Your answer must have exactly {n} «unit».
        Answer in exactly {n:word} «unit».
        Make your answer exactly {n} «unit» long.
        Give me precisely {n:word} «unit».
        Your response should contain exactly {n:word} «unit».
        I want exactly {n} «unit», no more and no less.
        The answer needs exactly {n:word} «unit».
        Please reply in precisely {n} «unit».
        Use {n:word} «unit», not more and not less.
        The number of «units» in your answer must be {n}.
    """,
    validation="""
        Your answer should be exactly {n:word} «unit» long.
        Please write precisely {n} «unit».
        Use {n} «unit», no more and no less.
    """,
    test="""
        Reply with exactly {n:word} «unit».
        The response must be exactly {n} «unit» long.
        Please give me {n:word} «unit», not more and not less.
    """,
)
_BETWEEN = Phrasings.lines(
    learning="""
        Write between {low} and {high} «units».
        Use at least {low} and at most {high} «units».
        Your answer must have between {low:word} and {high:word} «units».
        Answer in {low} to {high} «units».
        Make your answer {low:word} to {high:word} «units» long.
        Give me no fewer than {low} and no more than {high} «units».
        Your response should contain from {low} to {high} «units».
        I want at least {low:word} but at most {high:word} «units».
        The answer needs between {low} and {high} «units».
        Please reply in {low:word} to {high:word} «units».
        Keep your answer between {low:word} and {high:word} «units».
    """,
    validation="""
        Your answer should be between {low} and {high} «units» long.
        Please use {low:word} to {high:word} «units».
        Write at least {low} but no more than {high} «units».
    """,
    test="""
        Reply with {low} to {high} «units».
        The response must have between {low:word} and {high:word} «units».
        Please write at least {low:word} and at most {high:word} «units».
    """,
)
_LESS_THAN = Phrasings.lines(
    learning="""
        Write less than {n} «units».
        Use fewer than {n} «units».
        Your answer must have fewer than {n:word} «units».
        Answer with less than {n:word} «units».
        Keep your answer under {n} «units».
        Your response should contain less than {n} «units».
        I want fewer than {n:word} «units» in the answer.
        Stay below {n:word} «units».
        Please reply in less than {n} «units».
        The answer must be shorter than {n} «units».
        Keep it to fewer than {n} «units».
        The number of «units» in your answer must be less than {n:word}.
    """,
    validation="""
        Your answer should be under {n:word} «units».
        Please use less than {n} «units».
        Keep the response shorter than {n:word} «units».
    """,
    test="""
        Reply with fewer than {n:word} «units».
        The response must stay below {n} «units».
        Please keep your answer to less than {n} «units».
    """,
)


def _with_unit(phrasings: Phrasings, one: str, many: str) -> Phrasings:
    def swap(templates: tuple[str, ...]) -> tuple[str, ...]:
        choice = f"{{n:{one}/{many}}}"
        return tuple(t.replace("«unit»", choice).replace("«units»", many) for t in templates)

    return Phrasings(swap(phrasings.learning), swap(phrasings.validation), swap(phrasings.test))


def amounts(
    one: str,
    many: str,
    grammar: Callable[[float, float], Constraint],
    rewrite: Callable[[str, float, float], str | None] | None = None,
) -> dict[str, Any]:
    """What the decorator `instruction` is told of one that says how many of a noun: at least, at most or exactly.

    Args:
        one: The noun.
        many: Its plural.
        grammar: Makes of the fewest and the most what an answer must match.
        rewrite: Changes an answer so that it has from the fewest to the most.
    """
    cases = {"at_least": _AT_LEAST, "at_most": _AT_MOST, "exactly": _EXACTLY, "between": _BETWEEN}
    return {
        "phrasings": {case: _with_unit(phrasings, one, many) for case, phrasings in cases.items()},
        "case": _amount_case,
        "fields": _amount_fields,
        "demands": lambda params: Demands(counts={many: _amount_range(params)}),
        "constraint": lambda params: grammar(*_amount_range(params)),
        "rewrite": None if rewrite is None else lambda text, params: rewrite(text, *_amount_range(params)),
    }


def relations(what: str, number: str, relation: str = "relation") -> dict[str, Any]:
    """What the decorator is told of one with IFEval's relation: what is counted, and the names of its parameters."""
    return {
        "case": lambda params: str(params[relation]),
        "fields": lambda params: {"n": params[number]},
        "demands": lambda params: Demands(counts={what: relation_range(params[relation], params[number])}),
    }


def relation_phrasings(one: str, many: str) -> dict[str, Phrasings]:
    """Phrasings for IFEval's two relations, of a noun's singular and plural."""
    return {LESS_THAN: _with_unit(_LESS_THAN, one, many), AT_LEAST: _with_unit(_AT_LEAST, one, many)}


def _amount_range(params: Mapping[str, Any]) -> Range:
    """The counts that at_least, at_most and exactly allow."""
    if "exactly" in params:
        return (params["exactly"], params["exactly"])
    low = params.get("at_least", 0)
    return (low, params["at_most"]) if "at_most" in params else at_least(low)


def _amount_case(params: Mapping[str, Any]) -> str:
    """The case of phrasings for at_least, at_most and exactly."""
    if "exactly" in params:
        return "exactly"
    if "at_least" in params and "at_most" in params and params["at_least"] != params["at_most"]:
        return "between"
    return "exactly" if len(params) == 2 else next(iter(params))


def _amount_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    """The template values for at_least, at_most and exactly."""
    low, high = _amount_range(params)
    return {"low": low, "high": high, "n": high if "at_most" in params or "exactly" in params else low}


def amount_check(
    owner: str,
    count: Callable[[str], int | Range],
    at_least: int | None,
    at_most: int | None,
    exactly: int | None,
    *,
    some: bool = False,
) -> Check:
    """A check that a count (or the fewest and the most it can be) lies where at_least, at_most and exactly allow.

    With `some`, an answer without a single one follows nothing, however few may be.
    """
    given = {"at_least": at_least, "at_most": at_most, "exactly": exactly}
    params = {name: value for name, value in given.items() if value is not None}
    if not params:
        raise InstructionError(f"{owner} needs at_least, at_most or exactly")
    if exactly is not None and len(params) > 1:
        raise InstructionError(f"{owner}: exactly cannot be combined with at_least or at_most")
    low, high = _amount_range(params)
    if low > high:
        raise InstructionError(f"{owner}: at_least ({at_least}) is more than at_most ({at_most})")
    fewest = max(low, 1) if some else low
    return lambda response: lies_within(count(response), fewest, high)


def lies_within(count: int | Range, low: float, high: float) -> bool | None:
    """Whether a count lies between two bounds; None where only the fewest and the most are known, and these differ."""
    fewest, most = count if isinstance(count, tuple) else (count, count)
    if low <= fewest and most <= high:
        return True
    return False if most < low or fewest > high else None


def relation_range(relation: str, number: int) -> Range:
    """The counts that "less than" or "at least" a number allows."""
    return at_least(number) if relation == AT_LEAST else at_most(number - 1)


def holds(relation: str, count: int, number: int) -> bool:
    """Whether a count is in IFEval's relation to a number."""
    return count >= number if relation == AT_LEAST else count < number
