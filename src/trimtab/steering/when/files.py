r"""How it is written in a steering's files: a list of JSON objects in the document, directions among the tensors.

    "conditions": [{"kind": "matches", "pattern": "\\bjson\\b"},
                   {"kind": "not", "parts": [{"kind": "resembles", "block": 2, ...}]}]

An edit names its own by its place in the list. The direction of a learned one is the tensor
`conditions.1.direction`, or `conditions.1.0.direction` inside another. Those of other packages also name the `package`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.steering.documents import take
from trimtab.steering.record import ModelIdentity
from trimtab.steering.when.base import AllOf, AnyOf, Not, Parts, When
from trimtab.steering.when.cast import Cast
from trimtab.steering.when.resembles import Resembles
from trimtab.steering.when.rules import Matches

ENTRY_POINT_GROUP = "trimtab.whens"

_DEEPEST = 16
_KINDS: dict[str, type[When]] = {kind.kind: kind for kind in (Matches, Resembles, Cast, AllOf, AnyOf, Not)}


def when_document(when: When, *, depth: int = 0) -> dict[str, Any]:
    """A `When` as plain JSON, without its tensors."""
    when.content()  # refuses what cannot be saved
    if isinstance(when, Parts):
        if depth >= _DEEPEST:
            raise SteeringError(
                f"a `when` with parts inside each other more than {_DEEPEST} deep cannot be saved; put fewer together"
            )
        return {"kind": when.kind, "parts": [when_document(part, depth=depth + 1) for part in when.parts]}
    found, package = _find(when.kind)
    if found is not type(when):
        raise SteeringError(
            f"a `When` of the type {type(when).__name__} cannot be saved: name it in an entry point "
            f"'{when.kind or 'its kind'}' of the group {ENTRY_POINT_GROUP}, so that it is found again"
        )
    return {"kind": when.kind, **({"package": package} if package else {}), **when.document()}


def when_tensors(when: When, name: str) -> dict[str, Tensor]:
    """The tensors of a `When`, under names that begin with `name`."""
    if not isinstance(when, Parts):
        return {f"{name}.{own}": tensor for own, tensor in when.tensors().items()}
    tensors: dict[str, Tensor] = {}
    for number, part in enumerate(when.parts):
        tensors |= when_tensors(part, f"{name}.{number}")
    return tensors


def read_when(
    values: Any,
    name: str,
    tensors: Mapping[str, Tensor],
    model: ModelIdentity,
    where: str | Path,
    *,
    depth: int = 0,
) -> When:
    """Read what `when_document` and `when_tensors` gave."""
    place = f"{where} ({name})"
    if not isinstance(values, Mapping):
        raise SteeringError(f"{place} must be an object, not {values!r:.60}")
    kind = take(values, "kind", str, place)
    found, _ = _find(kind)
    if found is None:
        raise SteeringError(f"{place}: {_unknown(kind, values.get('package'))}")
    if not issubclass(found, Parts):
        own = {key: value for key, value in values.items() if key not in ("kind", "package")}
        inside = {key[len(name) + 1 :]: t for key, t in tensors.items() if key.startswith(f"{name}.")}
        return found.read(own, inside, model, place)
    given = take(values, "parts", list, place)
    if not given or (found is Not and len(given) != 1):
        raise SteeringError(f"{place}: '{kind}' with {len(given)} parts makes no condition")
    if depth >= _DEEPEST:
        raise SteeringError(f"{place}: conditions lie inside each other more than {_DEEPEST} deep")
    parts = tuple(
        read_when(part, f"{name}.{number}", tensors, model, where, depth=depth + 1)
        for number, part in enumerate(given)
    )
    return Not(parts[0]) if found is Not else found(parts)


def _find(kind: str) -> tuple[type[When] | None, str | None]:
    """The class of a kind, and the package that brings it; None for those of this one."""
    if kind in _KINDS:
        return _KINDS[kind], None
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=kind):
        package = entry.dist.name if entry.dist else entry.value.partition(":")[0].partition(".")[0]
        try:
            found = entry.load()
        except Exception as error:  # a package may do anything when it is imported
            raise SteeringError(
                f"the condition '{kind}' of the package {package} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        if not (isinstance(found, type) and issubclass(found, When) and found.kind == kind):
            raise SteeringError(
                f"the package {package} gives no `When` of the kind '{kind}', but {found!r:.60}"
            )
        return found, package
    return None, None


def _unknown(kind: str, package: object) -> str:
    known = [*_KINDS, *sorted(entry_points(group=ENTRY_POINT_GROUP).names)]
    if isinstance(package, str):
        return f"a condition of the kind {kind!r:.60} comes with the package {package!r:.60}; install it here"
    return f"there is no condition of the kind {kind!r:.60}; there are {', '.join(known)}"
