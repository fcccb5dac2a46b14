"""Steerings in the files of other libraries: one module for each format, to read and to write."""

from trimtab.formats.base import Content, Format
from trimtab.formats.converting import read, recognised, write
from trimtab.formats.registry import find, formats, register

__all__ = ["Content", "Format", "find", "formats", "read", "recognised", "register", "write"]
