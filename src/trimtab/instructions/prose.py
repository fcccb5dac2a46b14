"""The prose of an answer: its blocks of running text, without what Markdown puts around and between them."""

from __future__ import annotations

import regex

_FENCE = regex.compile(r"[ \t]*(`{3,}|~{3,})(.*)")
_QUOTED = regex.compile(r"^(?:[ \t]*>)+[ \t]?")
_RULE = regex.compile(
    r"[ \t]*(?:(?:[*_=-][ \t]*){3,}|\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?)[ \t]*"
)
_ROW = regex.compile(r"[ \t]*\|.*\|[ \t]*")
HEADING = regex.compile(r"[ \t]{0,3}#{1,6}(?:[ \t]+(.*?))?[ \t]*#*[ \t]*")
_BULLET = r"(?:[-*+\u2022\u2023\u25e6\u2043\u25aa\u25cf]|\u2013(?=[ \t]))[ \t]+|[\u30fb\u00b7][ \t]*"
_NUMBER = (
    r"\(?(?:\p{Nd}{1,3}(?:\.\p{Nd}{1,3})*|[A-Za-z]|[ivxIVX]{1,4})[.)][ \t]+"
    r"|\p{Nd}{1,3}[\uff0e\u3001]|[\u2460-\u2473][ \t]*"
)
_ITEM = regex.compile(rf"[ \t]*(?:{_BULLET}|{_NUMBER})(?:\[[ xX]\][ \t]+)?(?=.*[\p{{L}}\p{{N}}])")
_INITIAL = regex.compile(r"\p{Lu}\.[ \t]+(?:\p{Lu}\.[ \t]+)*\p{Lu}(?:\p{Ll}+|\.)")
_UNDERLINE = regex.compile(r"[ \t]{0,3}(?:=+|-{2,})[ \t]*")
# Tags of HTML that begin or end a block where they stand beside nothing or another tag, and those that break a line.
_BLOCK = (
    r"(?:p|div|ul|ol|li|dl|dt|dd|blockquote|section|article|header|footer|main|table|thead|tbody|tr|td|th)"
)
_LAYOUT = regex.compile(
    r"(?P<code>(`+)(?!`).+?(?<!`)\2(?!`))|<h[1-6](?:\s[^<>]*)?>(?P<heading>.*?)</h[1-6]>|(?P<line><br\s*/?>)"
    rf"|(?:^|(?<=>))[ \t]*<{_BLOCK}(?:\s[^<>]*)?>|</{_BLOCK}>[ \t]*(?=$|<)",
    regex.IGNORECASE,
)

_OPEN = (":", ",", ";", "：", "，", "；", "、", "،", "؛")
_ENDED = regex.compile(r"[.!?\u2026\u3002\uff01\uff1f\u061f\u0964\u0965][\p{P}\p{S}\s]*$")


def blocks(text: str) -> list[str]:
    """The running text of an answer: one string per paragraph or item of a list, in order, none of them blank.

    Code in fences, tables, rules, headings and the marks of lists and quotations are left out. What ends with a comma
    or a colon goes on with the next block, as a greeting and what introduces a list do, and such a list goes on as
    long as its items have no end of their own. Line ends must be line feeds.
    """
    found: list[str] = []
    headings: list[str] = []
    lines: list[str] = []
    fence = ""
    table = joins = False

    def close(*, item: bool = False) -> None:
        nonlocal joins
        block = "\n".join(lines).strip()
        lines.clear()
        if not block:
            return
        if joins and found:
            found[-1] += "\n" + block
        else:
            found.append(block)
        # An introduced list of words is one sentence with what introduces it.
        joins = block.rstrip("*_").endswith(_OPEN) or (joins and item and not _ENDED.search(block))

    in_item = False
    left = text.split("\n")[::-1]
    while left:
        line = left.pop()
        if not fence and "<" in line and "\n" in (parted := _LAYOUT.sub(_as_lines, line)):
            left += parted.split("\n")[::-1]
            continue
        line = _QUOTED.sub("", line)
        mark = _FENCE.fullmatch(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
            continue
        if mark and not (mark[1][0] == "`" and "`" in mark[2]):
            close(item=in_item)
            fence, joins, in_item = mark[1], False, False
        elif "|" in line and (_RULE.fullmatch(line) or _ROW.fullmatch(line) or table):
            if not table and _RULE.fullmatch(line) and lines:
                # The head of a table without bars at its ends.
                lines.pop()
            close(item=in_item)
            table, joins, in_item = True, False, False
        elif underlined(lines, line) and not in_item:
            headings.append(lines.pop().strip())
            joins = False
        elif not line.strip() or _RULE.fullmatch(line):
            close(item=in_item)
            table = False
        elif heading := HEADING.fullmatch(line):
            close(item=in_item)
            joins = in_item = False
            headings.append((heading[1] or "").strip())
        elif (item := _ITEM.match(line)) and not _INITIAL.match(line.strip()):
            close(item=in_item)
            in_item = True
            lines.append(line[item.end() :])
        else:
            if not lines:
                joins, in_item = joins and not in_item, False
            lines.append(line)
    close(item=in_item)
    return found or [heading for heading in headings if heading]


def underlined(lines: list[str], line: str) -> bool:
    """Whether the lines of a block are one, and the line behind it makes it a heading: Rain, and ==== below it."""
    if len(lines) != 1 or not _UNDERLINE.fullmatch(line):
        return False
    return "=" in line or not _ENDED.search(lines[0])


def _as_lines(tag: regex.Match[str]) -> str:
    if tag["code"]:
        return str(tag[0])
    if tag["heading"] is not None:
        return f"\n# {tag['heading']}\n"
    return "\n" if tag["line"] else "\n\n"
