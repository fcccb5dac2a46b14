"""What is learned on, what is validated with, and where examples of what is forbidden are looked for.

No query is in two of them.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from trimtab import prompts
from trimtab.errors import PromptError
from trimtab.learn.distillation.tasks import Task
from trimtab.prompts.pairs import PromptPair

if TYPE_CHECKING:
    from trimtab.steering.record import ModelIdentity

_VALIDATION = 24
_HELD_OUT = 0.2  # of prompt pairs, where none are given to validate with
_POOL = 512


def divided(
    model: ModelIdentity, queries: Sequence[Any], validation: Sequence[Any] | None, seed: int
) -> tuple[list[Any], list[Any]]:
    """What to learn on, and what to validate with: queries, or pairs.

    Raises:
        PromptError: There are none, they are mixed, or one is in both.
    """
    if not queries:
        raise PromptError("there are no queries to learn on; give at least one")
    if validation is None and isinstance(queries[0], PromptPair):
        held_out = random.Random(seed).sample(list(queries), max(1, round(_HELD_OUT * len(queries))))
        learning = [one for one in queries if one not in held_out]
        if not learning:
            raise PromptError("one prompt pair is too few to learn on and to validate with; give more")
        return learning, held_out
    if validation is None:
        return list(queries), validation_queries(model, queries, seed)
    if not validation:
        raise PromptError("there are no validation queries; give at least one, or None for the model's own")
    if len({isinstance(one, PromptPair) for one in (*queries, *validation)}) > 1:
        raise PromptError(
            "learn on queries and validate with queries, or on pairs and with pairs; these are mixed"
        )
    known = set(map(repr, queries))  # chats cannot be hashed
    if shared := [one for one in validation if repr(one) in known]:
        raise PromptError(
            f"the query {Task.of(shared[0]).query!r:.60} is among those to learn on and those to validate with; they "
            "must differ"
        )
    return list(queries), list(validation)


def validation_queries(model: ModelIdentity, learning: Collection[str], seed: int) -> list[str]:
    """Some of the model's own base queries to validate with, none of which is among those to learn on.

    Raises:
        PromptError: All of them are.
    """
    found = prompts.default_queries(model, "validation", _VALIDATION, seed)
    if known := set(learning) & set(found):
        rest = [one for one in prompts.default_queries(model, "validation") if one not in set(learning)]
        found = prompts.sample_queries(rest, min(_VALIDATION, len(rest)), seed)
    if not found:
        raise PromptError(
            f"the query {min(known)!r:.60} and all others that the model has to validate with are among those to learn "
            "on; give others to validate with"
        )
    return found


def pool_of(model: ModelIdentity, held_out: Sequence[str], seed: int) -> list[str]:
    """At most 512 of the model's own base queries, none of which is held out."""
    known = set(held_out)
    found = [query for query in prompts.default_queries(model, "learning") if query not in known]
    return prompts.sample_queries(found, min(_POOL, len(found)), seed)
