"""Reads an HTML page strictly: what must be closed is closed, ids are unique, and nothing comes from outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
FETCHING = {"script", "iframe", "object", "embed", "link", "img", "audio", "video", "base", "form"}


class Page(HTMLParser):
    """The elements, ids, references and text of a page.

    Raises:
        ValueError: If a tag is closed that is not open, or not closed at the end.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(source)
        self.close()
        if self.open:
            raise ValueError(f"never closed: {self.open}")
        self.addresses += re.findall(r"(?:https?:)?//[\w.-]+\.\w+", source)
        self.addresses += re.findall(r"url\((?!#)[^)]*\)|@import", source)
        self.references += re.findall(r"url\(#([^)]+)\)", source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> at {self.getpos()} closes what is not open")

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text.append(data)
        if self.cells and self.cells[-1] and ("td" in self.open or "th" in self.open):
            self.cells[-1][-1] += f"{data} "

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In a drawing a title is what a pointer that rests on a shape is shown.
        self.tags.append("svg-title" if tag == "title" and "svg" in self.open else tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "xlink:href", "src", "action", "srcset") and value:
                (self.references if value.startswith("#") else self.addresses).append(value.lstrip("#"))

    @property
    def words(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.text).split())


def check(source: str) -> Page:
    """Parses a page and asserts that it stands alone.

    Returns:
        The page.
    """
    page = Page(source)
    assert source.startswith("<!DOCTYPE html>")
    assert page.addresses == []
    assert not FETCHING & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.references) <= set(page.ids)
    assert "meta" in page.tags
    assert page.tags.count("title") == 1
    return page
