"""What a caller gives a distillation, looked at before any work: what is to be asked, and each option by its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

from trimtab import arguments
from trimtab.errors import PromptError, SteeringError
from trimtab.learn.distillation.learnable import check_accept
from trimtab.learn.distillation.schedule import Schedule
from trimtab.learn.distillation.teachers import check_teacher
from trimtab.learn.distillation.trainable import FORMS
from trimtab.measure.bounds import Bounds
from trimtab.measure.scorer import Scorer
from trimtab.prompts.pairs import PromptPair
from trimtab.steering.edits import TokenScope
from trimtab.steering.steering import Steering


def asked_for(queries: Sequence[Any], name: str) -> list[Any]:
    """Queries, or prompt pairs, as a list; `name` is the argument they are.

    Raises:
        PromptError: They are neither.
    """
    return arguments.each(queries, name, "texts, or of prompt pairs", (str, PromptPair), PromptError)


def check_options(**options: Any) -> None:
    """Look at options of `distill`, by their names there.

    Raises:
        SteeringError: One is of the wrong kind; the message names it.
    """
    for name, value in options.items():
        _CHECKS[name](value)


def _or_none(check: Callable[[Any], object], value: Any) -> None:
    if value is not None:
        check(value)


def _of(name: str, kind: type) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        arguments.instance(value, name, kind, f"a {kind.__name__}, or None", SteeringError)

    return partial(_or_none, check)


def _function(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        arguments.function(value, name, "a function, or None", SteeringError)

    return partial(_or_none, check)


def _kept(check: Callable[..., object], name: str, **limits: Any) -> Callable[[Any], object]:
    return lambda value: check(value, f"{name} of a distillation", error=SteeringError, **limits)


_CHECKS: dict[str, Callable[[Any], object]] = {
    "teacher": check_teacher,
    "accept": check_accept,
    "start": _of("start", Steering),
    "schedule": _of("schedule", Schedule),
    "bounds": _of("bounds", Bounds),
    "scorer": _of("scorer", Scorer),
    "facts": _function("facts"),
    "watch": _function("watch"),
    "checkpoint": partial(_or_none, _kept(arguments.place, "checkpoint")),
    "form": _kept(arguments.one_of, "form", words=FORMS),
    "tokens": _kept(arguments.one_of, "tokens", words=get_args(TokenScope)),
    "rank": partial(_or_none, _kept(arguments.whole, "rank", least=1)),
    "max_new_tokens": partial(_or_none, _kept(arguments.whole, "max_new_tokens", least=1)),
    "phrasings": _kept(arguments.whole, "phrasings", least=1),
    "questions": _kept(arguments.whole, "questions", least=0),
    "instructed": _kept(arguments.share, "instructed"),
    "other": _kept(arguments.share, "other"),
    "gradient_checkpointing": _kept(arguments.flag, "gradient_checkpointing"),
    "seed": lambda value: arguments.seed(value, SteeringError),
}
