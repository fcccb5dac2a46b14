"""Damage: bytes that were hit, JSON whose values are others, texts in other encodings. What hypothesis draws."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

HEAD = 4096
"""Half of all damage is done to the beginning, where files say what they are."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with bits flipped, bytes overwritten, cut off, repeated, put in, or parts of it changed over."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        most = max(len(changed) - 1, 0)
        place = draw(st.one_of(st.integers(0, min(most, HEAD)), st.integers(0, most)))
        way = draw(st.sampled_from(("flip", "flip", "flip", "huge", "cut", "insert", "repeat", "splice")))
        if way == "flip" and changed:
            changed[place] ^= 1 << draw(st.integers(0, 7))
        elif way == "huge":
            changed[place : place + 8] = draw(
                st.sampled_from((b"\xff" * 8, b"\x00" * 8, b"\x00" * 7 + b"\x7f"))
            )
        elif way == "cut":
            del changed[place:]
        elif way == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif way == "repeat":
            changed[place:place] = changed[place : place + draw(st.integers(1, 200))]
        elif way == "splice":
            changed[place:] = changed[draw(st.integers(0, most)) :]
    return bytes(changed)


def nested(depth: int) -> Any:
    """Lists inside each other, deeper than Python's own limit where asked for."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


STRANGE: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            False,
            0,
            -1,
            3,
            1.5,
            -0.0,
            1e308,
            float("nan"),
            float("inf"),
            2**31,
            2**63,
            2**64,
            10**400,
            "",
            " ",
            "\0",
            "\x1b[2J",
            "\ud800",
            "x" * 70_000,
            "(a+)+$",
            "../../../etc/passwd",
            "__import__('os').system('true')",
            "{{ cycler.__init__ }}",
            [],
            {},
            [[]],
            {"": None},
            {"__class__": "object"},
            {"$ref": "#"},
            nested(60),
            nested(300),
            [1] * 10_000,
        ]
    ),
    st.text(max_size=8),
    st.integers(),
    st.floats(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
).map(lambda value: json.loads(json.dumps(value)))  # a copy, since what is drawn may be changed further
"""Values of the kinds of JSON that are unlikely to be meant."""


@st.composite
def strange_json(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value of which one or two parts are strange, missing, or there twice."""
    changed = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 2))):
        changed = _changed_once(draw, changed)
    return changed


def _changed_once(draw: st.DrawFn, value: Any) -> Any:
    path = _path(draw, value)
    if not path:
        return draw(STRANGE)
    place = value
    for key in path[:-1]:
        place = place[key]
    last = path[-1]
    way = draw(st.sampled_from(("replace", "replace", "replace", "drop", "add", "wrap", "swap")))
    if way == "replace":
        place[last] = draw(STRANGE)
    elif way == "drop":
        del place[last]
    elif way == "wrap":
        place[last] = draw(st.sampled_from(([place[last]], {"value": place[last]})))
    elif way == "swap":
        other = draw(st.sampled_from(_keys(place)))
        place[last], place[other] = place[other], place[last]
    elif isinstance(place, dict):
        place[draw(st.text(max_size=6))] = draw(STRANGE)
    else:
        place.append(draw(STRANGE))
    return value


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, dict) else list(range(len(value)))


def _path(draw: st.DrawFn, value: Any) -> list[Any]:
    """The way to some part: ever deeper, with a chance to stop."""
    path: list[Any] = []
    while isinstance(value, dict | list) and value and draw(st.integers(0, 5 if path else 20)):
        key = draw(st.sampled_from(_keys(value)))
        path.append(key)
        value = value[key]
    return path


def json_bytes(value: Any) -> bytes:
    """JSON as a careless program writes it: NaN and half surrogate pairs too."""
    return json.dumps(value).encode()


@st.composite
def reencoded(draw: st.DrawFn, content: bytes) -> bytes:
    """A text in another encoding, with other line ends, with a byte order mark, or deeper than it may be."""
    text = content.decode("utf-8", "replace")
    way = draw(st.sampled_from(("utf-16", "utf-32", "latin-1", "bom", "crlf", "cr", "nul", "deep", "empty")))
    if way in ("utf-16", "utf-32"):
        return text.encode(way)
    if way == "latin-1":
        return ("ä" + text).encode("latin-1", "replace")
    if way == "bom":
        return b"\xef\xbb\xbf" + content
    if way == "nul":
        return content.replace(b"e", b"\0", draw(st.integers(1, 3)))
    if way == "deep":
        opening = draw(st.sampled_from(("[", '{"a":', "{a=")))
        return (opening * draw(st.sampled_from((50, 5_000, 100_000)))).encode()
    if way == "empty":
        return draw(st.sampled_from((b"", b"\n", b"\0", b"null", b"{}", b"[]", b"\xff\xfe")))
    return content.replace(b"\n", b"\r\n" if way == "crlf" else b"\r")


@st.composite
def damaged_file(draw: st.DrawFn, content: bytes) -> bytes:
    """A file that was damaged in any of these ways; the second and third only where it holds text."""
    way = draw(st.sampled_from(("bytes", "bytes", "text", "values", "values")))
    if way == "values":
        try:
            lines = [json.loads(content)]
            multiple = False
        except (ValueError, RecursionError):
            try:
                lines = [json.loads(line) for line in content.splitlines() if line.strip()]
                multiple = bool(lines)
            except (ValueError, RecursionError):
                lines, multiple = [], False
        if lines:
            number = draw(st.integers(0, len(lines) - 1))
            lines[number] = draw(strange_json(lines[number]))
            return b"\n".join(map(json_bytes, lines)) + (b"\n" if multiple else b"")
        header = _safetensors_header(content)
        if header is not None:
            size, value = header
            head = json_bytes(draw(strange_json(value)))
            return len(head).to_bytes(8, "little") + head + content[8 + size :]
    if way == "text":
        return draw(reencoded(content))
    return draw(damaged(content))


def _safetensors_header(content: bytes) -> tuple[int, Any] | None:
    size = int.from_bytes(content[:8], "little")
    if not 0 < size <= len(content) - 8:
        return None
    try:
        value = json.loads(content[8 : 8 + size])
    except ValueError:
        return None
    return (size, value) if isinstance(value, dict) else None
