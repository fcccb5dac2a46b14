"""Steerings in the files of other libraries: one module for each format, to read and to write."""

from trimtab.formats.additive import everywhere
from trimtab.formats.base import Content, Format, InexpressibleError
from trimtab.formats.converting import read, recognised, write
from trimtab.formats.objects import from_object, to_object
from trimtab.formats.registry import find, formats, register

__all__ = [
    "InexpressibleError",
    "Content",
    "Format",
    "everywhere",
    "find",
    "formats",
    "from_object",
    "read",
    "recognised",
    "register",
    "to_object",
    "write",
]
