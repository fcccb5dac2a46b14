"""The table of formats in which models write what they think, what they answer, and the tools they call.

A format is a small machine over text. What a model writes is in one *part* at a time; a mark that is complete leads
from one part to another. `ThoughtFormat.tags` makes one of an opening and a closing mark; gpt-oss' channels need more
rules. Others are added by `register`, or by a package that names a format in the entry-point group `trimtab.thoughts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from typing import Any, Literal, get_args

from trimtab import arguments
from trimtab.errors import ModelError

ENTRY_POINT_GROUP = "trimtab.thoughts"

Kind = Literal["thought", "answer", "call", "markup", "open"]
"""What the text of a part is: thought, answer, the call of a tool, or none of them. `open` is not decided: it becomes
the answer, unless a mark follows."""

CALLS = (
    ("<tool_call>", "</tool_call>"),
    ("<function_call>", "</function_call>"),
    ("<|tool_call|>", "<|/tool_call|>"),
    ("<|tool_call>", "<tool_call|>"),
    ("<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"),
    ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    ("[TOOL_CALLS]", ""),
    ("<|python_tag|>", ""),
)
"""Marks around tool calls, in which models with all kinds of thoughts write them. Without a closing one, the call goes
to the end."""


@dataclass(frozen=True)
class ThoughtFormat:
    """How a model marks what is thought, what is answer and what is a tool call.

    Attributes:
        name: What to call it.
        begins: The part in which a response begins.
        kinds: What the text of each part is; `open` only that of the part in which it begins.
        rules: `(part, mark, next part)`: in a part, a mark leads to another. The mark belongs to neither.
        entered: `(mark, part)`: of these, the last one in a prompt decides in which part the response goes on.
        answering: For parts, what has to be written there for the answer to begin; nothing for those left out.
        known_by: A model has this format if one of these texts is a token of its own, or in its chat template.
        calls: Marks around tool calls in the answer, an opening and a closing one. Those that the model knows hold.

    Raises:
        ModelError: It does not hang together: a rule of a part that is none, an empty mark.
    """

    name: str
    begins: str
    kinds: Mapping[str, Kind]
    rules: tuple[tuple[str, str, str], ...]
    entered: tuple[tuple[str, str], ...] = ()
    answering: Mapping[str, str] | None = None
    known_by: tuple[str, ...] = ()
    calls: tuple[tuple[str, str], ...] = CALLS

    def __post_init__(self) -> None:
        for name in ("rules", "entered", "calls"):  # lists, where they came from JSON
            object.__setattr__(self, name, tuple(tuple(each) for each in getattr(self, name)))
        object.__setattr__(self, "known_by", tuple(self.known_by))
        object.__setattr__(self, "kinds", dict(self.kinds))
        object.__setattr__(self, "answering", dict(self.answering or {}))
        if any(not isinstance(each, str) for each in self._texts()):
            raise ModelError(f"the thought format {self.name!r:.60} has a name or a mark that is no text")
        if unknown := [kind for kind in self.kinds.values() if kind not in get_args(Kind)]:
            raise ModelError(
                f"the thought format {self.name!r} has a part of the kind {unknown[0]!r}; a part is one of "
                f"{', '.join(get_args(Kind))}"
            )
        named = {self.begins, *(part for rule in self.rules for part in (rule[0], rule[2]))}
        named |= {part for _, part in self.entered} | set(self.answering or {})
        if missing := sorted(named - set(self.kinds)):
            raise ModelError(
                f"the thought format {self.name!r} does not say in `kinds` what the part {missing[0]!r} is"
            )
        if "answer" not in self.kinds.values():
            raise ModelError(f"the thought format {self.name!r} has no part that is the answer")
        if any(kind == "open" and part != self.begins for part, kind in self.kinds.items()):
            raise ModelError(
                f"in the thought format {self.name!r} only the part in which it begins may be open"
            )
        if any(not mark for _, mark, _ in self.rules) or any(not mark for mark, _ in self.entered):
            raise ModelError(f"the thought format {self.name!r} has an empty mark")

    def _texts(self) -> Iterator[object]:
        """All that must be text."""
        for each in (*self.rules, *self.entered, *self.calls):
            yield from each
        yield from (self.name, self.begins, *self.known_by)
        yield from (*self.kinds, *(self.answering or {}), *(self.answering or {}).values())

    @classmethod
    def tags(
        cls,
        name: str,
        opening: str,
        closing: str,
        *,
        begins: Literal["open", "thought"] = "open",
        closed: str | None = None,
    ) -> ThoughtFormat:
        """Thoughts between two marks, in front of the answer.

        Args:
            name: What to call it.
            opening: `"<think>"`, say. A response that begins with anything else is all answer.
            closing: `"</think>"`, say. The first one ends the thought; later ones are text.
            begins: `"thought"` for a model that never writes the opening mark and always thinks.
            closed: What to write in a thought for the answer to begin; None for the closing mark, with a blank line
                behind it.
        """
        kinds: dict[str, Kind] = {"thought": "thought", "answer": "answer"}
        return cls(
            name,
            begins=begins,
            kinds={"open": "open", **kinds} if begins == "open" else kinds,
            rules=((begins, opening, "thought"), ("thought", closing, "answer")),
            entered=((opening, "thought"), (closing, "answer")),
            answering={"thought": f"\n{closing}\n\n" if closed is None else closed},
            known_by=(opening, closing),
        )

    @property
    def answer(self) -> str:
        """The part that is the answer."""
        return next(part for part, kind in self.kinds.items() if kind == "answer")

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ThoughtFormat:
        """What `to_dict` gave.

        Raises:
            ModelError: It is something else.
        """
        try:
            return cls(**values)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise ModelError(f"this is no thought format: {error}") from error


_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
_HARMONY = ThoughtFormat(
    "harmony",
    begins="header",
    # A message's header names its channel, and to whom it goes where it calls a tool. Every channel but the final one
    # is for the model itself.
    kinds={
        "header": "markup",
        "final header": "markup",
        "call header": "call",
        "thought": "thought",
        "answer": "answer",
        "call": "call",
    },
    rules=(
        ("header", "<|channel|>final", "final header"),
        ("header", " to=", "call header"),
        ("header", "<|message|>", "thought"),
        ("final header", "<|message|>", "answer"),
        ("call header", "<|message|>", "call"),
        *((part, end, "header") for part in ("thought", "answer", "call") for end in _ENDS),
    ),
    entered=(("<|start|>", "header"),),
    answering={
        "header": "<|channel|>final<|message|>",
        "final header": "<|message|>",
        "call header": "<|message|><|end|><|start|>assistant<|channel|>final<|message|>",
        "thought": "<|end|><|start|>assistant<|channel|>final<|message|>",
        "call": "<|call|><|start|>assistant<|channel|>final<|message|>",
    },
    known_by=("<|channel|>",),
    calls=(),
)
PLAIN = ThoughtFormat("plain", begins="answer", kinds={"answer": "answer"}, rules=())
"""That of a model which does not mark thoughts: all is answer but tool calls."""

_OWN = {
    one.name: one
    for one in (
        _HARMONY,
        ThoughtFormat.tags("think", "<think>", "</think>"),
        ThoughtFormat.tags("magistral", "[THINK]", "[/THINK]"),
        ThoughtFormat.tags("seed", "<seed:think>", "</seed:think>"),
        ThoughtFormat.tags("kimi", "\u25c1think\u25b7", "\u25c1/think\u25b7"),
        ThoughtFormat.tags("cohere", "<|START_THINKING|>", "<|END_THINKING|>"),
        ThoughtFormat.tags("thought", "<thought>", "</thought>"),
        ThoughtFormat.tags("gemma", "<|channel>thought", "<channel|>", closed="\n<channel|>"),
        PLAIN,
    )
}
_registered: dict[str, ThoughtFormat] = {}


def own_marks() -> list[tuple[str, str]]:
    """The opening and the closing mark of each of trimtab's own formats that has but these two."""
    return [
        (form.rules[0][1], form.rules[1][1])
        for form in _OWN.values()
        if [part for part, _, _ in form.rules] == ["open", "thought"]
    ]


def register(form: ThoughtFormat) -> ThoughtFormat:
    """Adds a format for this process; models that have it are told by `known_by`, before trimtab's own.

    Raises:
        ModelError: The name is taken.
    """
    if form.name in names_of_formats():
        raise ModelError(f"there is a thought format {form.name!r} already; choose another name")
    _registered[form.name] = form
    return form


def names_of_formats() -> list[str]:
    """The formats there are: those registered, those of installed packages, and trimtab's own."""
    return list(dict.fromkeys([*_registered, *entry_points(group=ENTRY_POINT_GROUP).names, *_OWN]))


def find(name: str) -> ThoughtFormat:
    """The format of that name, or that of two marks with three dots between them.

    Args:
        name: `"think"`, say; or `"<ponder>...</ponder>"`, and `"...</ponder>"` of a model that never writes the opening
            mark and always thinks.

    Raises:
        ModelError: There is none, or the package it is in fails.
    """
    arguments.text(name, "name (of a thought format)", ModelError)
    if name in _OWN or name in _registered:  # what is trimtab's own cannot be replaced from outside
        return _OWN.get(name) or _registered[name]
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            found = entry.load()
        except Exception as error:  # whatever the code of another package raises
            raise ModelError(
                f"the thought format {name!r} ({entry.value}) cannot be loaded: {error}"
            ) from error
        if not isinstance(found, ThoughtFormat):
            raise ModelError(f"the thought format {name!r} ({entry.value}) is a {type(found).__name__}")
        return found
    if _DOTS in name:
        return _of_marks(name)
    raise ModelError(
        f"there is no thought format {name!r}; there are {', '.join(names_of_formats())}; or give the marks of another "
        "one: <ponder>...</ponder>"
    )


_DOTS = "..."


def _of_marks(spelled: str) -> ThoughtFormat:
    opening, closing = (mark.strip() for mark in spelled.split(_DOTS, 1))
    if not closing or _DOTS in closing or opening == closing:
        raise ModelError(
            f"{spelled!r} spells no thought format: write the mark that opens a thought, three dots, and another one "
            "that closes it, such as <ponder>...</ponder>; or ...</ponder> where nothing opens it"
        )
    if opening:
        return ThoughtFormat.tags(spelled, opening, closing)
    form = ThoughtFormat.tags(spelled, closing, closing, begins="thought")
    return replace(form, rules=form.rules[1:], entered=form.entered[1:], known_by=form.known_by[1:])


def named(wanted: ThoughtFormat | str | None) -> ThoughtFormat | None:
    """The format that is wanted, found if it is named; None where none is.

    Raises:
        ModelError: It is neither a format nor the name of one.
    """
    if wanted is None or isinstance(wanted, ThoughtFormat):
        return wanted
    return find(arguments.text(wanted, "the wanted thoughts (a format or its name)", ModelError))


def format_of(tokenizer: Any, wanted: ThoughtFormat | str | None = None) -> ThoughtFormat:
    """The format of a model: the one wanted, else the first one it is known by, else `plain`."""
    found = named(wanted)
    if found is not None:
        return found
    for name in names_of_formats():
        form = find(name)
        if any(knows(tokenizer, text) for text in form.known_by):
            return form
    return PLAIN


def knows(tokenizer: Any, text: str) -> bool:
    """Whether a text is a token of its own in a vocabulary, or in the tokenizer's chat template."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    if any(getattr(token, "content", token) == text for token in added.values()):
        return True
    template = getattr(tokenizer, "chat_template", None)
    several = template.values() if isinstance(template, Mapping) else [template]
    return any(isinstance(one, str) and text in one for one in several)
