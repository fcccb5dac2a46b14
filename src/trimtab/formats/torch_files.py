"""What `torch.save` wrote, read without running anything in it.

Such a file is a zip with a pickle, and a pickle is a program. torch's loader of weights alone runs a part of that
language, and believes the sizes that a file states. Here nothing is run: the few words in which `torch.save` writes
numbers, texts, lists, dictionaries, tensors and numpy arrays are followed by hand, every size is held against the bytes
that are there, and any other word is refused by its name.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats.bounded import first_bytes, read_bytes

MAGIC = b"PK\x03\x04"
MOST_WORDS = 2**17
"""Of the pickle; one of a steering has a few dozen for each block."""

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
}
_DAMAGED = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)


def is_torch_file(path: Path) -> bool:
    """Whether it is a zip file, as those of `torch.save` are."""
    return first_bytes(path, len(MAGIC)) == MAGIC


def read(path: Path) -> Any:
    """The value in a file of `torch.save`: of numbers, texts, None, lists, tuples, dictionaries and float tensors.

    Tensors and numpy arrays become tensors on the CPU, in their own dtype.

    Raises:
        SteeringError: It cannot be read, is too large or damaged, or holds anything else.
    """
    content = read_bytes(path)
    if not content.startswith(MAGIC):
        raise SteeringError(
            f"{path} is no file of torch.save; if an old torch made it, load and save it again"
        )
    try:
        return _Machine(_records(content), len(content)).run()
    except _DAMAGED as error:
        told = type(error) in (ValueError, zipfile.BadZipFile)
        raise SteeringError(
            f"{path} cannot be read: {str(error)[:300] if told else 'it is damaged'}"
        ) from error


def packed(value: Any) -> bytes:
    """What `torch.save` writes; a value of dictionaries, texts, numbers and tensors loads with `weights_only=True`."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def vector(value: Any, where: str | Path) -> Tensor:
    """The vector `[d]`, float32, that a value is, also one of shape `[1, d]`.

    Raises:
        SteeringError: It is something else.
    """
    if not isinstance(value, Tensor):
        raise SteeringError(f"{where} is no tensor")
    if value.dim() == 2 and value.shape[0] == 1:
        value = value[0]
    if value.dim() != 1:
        raise SteeringError(f"{where} has the shape {list(value.shape)}, and [d] or [1, d] is expected")
    found: Tensor = value.float()
    return found


def _records(content: bytes) -> dict[str, bytearray]:
    """The files in the zip by their names inside its one folder; writable, so that tensors need no copies."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which torch.save does not do")
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("it states more bytes than it has")
        found = {entry.filename.partition("/")[2]: bytearray(archive.read(entry)) for entry in entries}
    if len(found) != len(entries):
        raise ValueError("a name stands in it twice")
    if found.get("byteorder", b"little") != b"little":
        raise ValueError("its numbers are big-endian")
    return found


@dataclass(frozen=True)
class _Name:
    """A class or a function that the pickle names; never looked up."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """Numbers of the file, which tensors are cut from."""

    numbers: Tensor


@dataclass
class _Array:
    """A numpy array or dtype on its way: what is built comes by a later word."""

    value: Any = None


class _Mark:
    pass


class _Machine:
    def __init__(self, records: dict[str, bytearray], size: int) -> None:
        self.records, self.size, self.spent, self.values = records, size, 0, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        if "data.pkl" not in self.records:
            raise ValueError("it has no data.pkl, so it is no file of torch.save")
        for number, (word, argument, _) in enumerate(pickletools.genops(bytes(self.records["data.pkl"]))):
            if number > MOST_WORDS:
                raise ValueError("it is far too long for a steering")
            if word.name == "STOP":
                return self.plain(self.stack.pop())
            self.step(word.name, argument)
        raise ValueError("it is cut off")

    def step(self, word: str, argument: Any) -> None:
        if word in _LITERALS:
            self.stack.append(argument)
        elif word in _MADE:
            self.stack.append(_MADE[word]())
        elif word in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif word == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif word in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif word in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(word[-1])
            items = [self.stack.pop() for _ in range(count)]
            self.stack.append(tuple(reversed(items)))
        elif word == "TUPLE":
            self.stack.append(tuple(self.marked()))
        elif word in ("LIST", "DICT"):
            items = self.marked()
            self.stack.append([] if word == "LIST" else {})
            self.put(items, pairs=word == "DICT")
        elif word in ("APPENDS", "SETITEMS"):
            self.put(self.marked(), pairs=word == "SETITEMS")
        elif word == "APPEND":
            self.put([self.stack.pop()], pairs=False)
        elif word == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            self.put([key, value], pairs=True)
        elif word == "GLOBAL":
            self.stack.append(_Name(argument.replace(" ", ".")))
        elif word == "STACK_GLOBAL":
            name, module = self.stack.pop(), self.stack.pop()
            self.stack.append(_Name(f"{module:s}.{name:s}"))
        elif word == "BINPERSID":
            self.stack.append(self.storage(self.stack.pop()))
        elif word in ("REDUCE", "NEWOBJ"):
            arguments, function = self.stack.pop(), self.stack.pop()
            self.stack.append(self.called(function, arguments))
        elif word == "BUILD":
            state = self.stack.pop()
            if isinstance(self.stack[-1], _Array):
                self.stack[-1].value = self.built(self.stack[-1].value, state)
            elif not isinstance(self.stack[-1], dict):  # attributes of a dictionary say nothing
                raise ValueError("it sets attributes of what is no array")
        elif word not in ("PROTO", "FRAME"):
            raise ValueError(f"it has the word {word}, which torch.save does not write")

    def marked(self) -> list[Any]:
        items = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def put(self, items: list[Any], *, pairs: bool) -> None:
        target = self.stack[-1]
        if not pairs and isinstance(target, list):
            target += items
        elif pairs and isinstance(target, dict) and len(items) % 2 == 0:
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not isinstance(key, str | int):
                    raise ValueError("a key in it is neither a text nor a number")
                target[key] = value
        else:
            raise ValueError("it puts items into what takes none")

    def storage(self, given: Any) -> _Storage:
        kind, name, key, _, count = given
        dtype = _DTYPES.get(name.text.removeprefix("torch.")) if isinstance(name, _Name) else None
        if kind != "storage" or dtype is None:
            word = name.text if isinstance(name, _Name) else "no storage"
            raise ValueError(f"it holds {word[:60]}; tensors of floats are wanted")
        content = self.records.get(f"data/{key}", bytearray())
        if type(count) is not int or not 0 < count * dtype.itemsize <= len(content):
            raise ValueError("a tensor states more numbers than it has")
        return _Storage(torch.frombuffer(content, dtype=dtype, count=count))

    def called(self, function: Any, arguments: Any) -> Any:
        name = function.text if isinstance(function, _Name) else "what is no function"
        if name == "torch._utils._rebuild_tensor_v2":
            return self.tensor(*arguments[:4])
        if name == "torch._utils._rebuild_parameter" and isinstance(arguments[0], Tensor):
            return arguments[0]
        if name == "collections.OrderedDict" and not arguments:
            return {}
        if name in ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"):
            return _Array()
        if name == "numpy.dtype" and isinstance(arguments[0], str):
            return _Array(arguments[0])
        if name in ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"):
            return self.array((), arguments[0], arguments[1])
        if name == "_codecs.encode" and arguments[1] == "latin1":
            return arguments[0].encode("latin1")
        raise ValueError(f"it would run {name[:80]}, and nothing in a file of a stranger is run")

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        numbers = (offset, *size, *stride)
        if not isinstance(storage, _Storage) or not all(type(one) is int and one >= 0 for one in numbers):
            raise ValueError("a tensor in it has no sound shape")
        count = len(storage.numbers)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        # Steps of 0 would make many numbers of one.
        if len(size) > 4 or not 0 < math.prod(size) <= count or not 0 <= last < count:
            raise ValueError("a tensor states another shape than it has numbers for")
        self.spend(math.prod(size) * storage.numbers.itemsize)
        return storage.numbers.as_strided(size, stride, offset).clone()

    def built(self, made: Any, state: Any) -> Any:
        if isinstance(made, str):  # a dtype, whose state says the order of bytes
            if state[1] not in ("<", "|", "="):
                raise ValueError("its numbers are big-endian")
            return made
        _, shape, kind, fortran, content = state
        if fortran:
            raise ValueError("an array in it is in Fortran's order")
        return self.array(shape, kind, content)

    def array(self, shape: Any, kind: Any, content: Any) -> Tensor:
        word = kind.value if isinstance(kind, _Array) else None
        dtype = {"f4": torch.float32, "f8": torch.float64, "f2": torch.float16}.get(str(word)[:4].lstrip("<"))
        if dtype is None:
            raise ValueError("an array in it is not one of floats")
        if not isinstance(content, bytes) or not all(type(one) is int and one > 0 for one in shape):
            raise ValueError("an array in it has no sound shape")
        if len(shape) > 4 or math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError("an array states another shape than it has numbers for")
        self.spend(len(content))
        return torch.frombuffer(bytearray(content), dtype=dtype).reshape(shape)

    def spend(self, count: int) -> None:
        """Tensors that share their bytes would multiply them."""
        self.spent += count
        if self.spent > self.size:
            raise ValueError("its tensors have more numbers than the file")

    def plain(self, value: Any, depth: int = 0) -> Any:
        """The value, in which no array is left on its way; one that holds itself has no end, and is refused."""
        self.values += 1
        if depth > 16 or self.values > MOST_WORDS:
            raise ValueError("what is in it lies too deep")
        if isinstance(value, _Array):
            value = value.value
        if isinstance(value, dict):
            return {key: self.plain(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.plain(one, depth + 1) for one in value)
        if isinstance(value, Tensor | str | int | float | bytes | type(None)):
            return value
        word = value.text[:80] if isinstance(value, _Name) else "something"
        raise ValueError(f"it holds {word}, which is no value")


_LITERALS = set(
    "BININT BININT1 BININT2 LONG1 LONG4 INT LONG BINFLOAT FLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BINSTRING SHORT_BINSTRING STRING".split()
)
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": _Mark,
}
