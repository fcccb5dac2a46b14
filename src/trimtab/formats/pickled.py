"""A pickle, followed without running anything in it.

A pickle is a program. Here the few words in which numbers, texts, lists, dictionaries, tensors and numpy arrays are
written are followed by hand, every size is held against the bytes that are there, and any other word is refused by its
name.
"""

from __future__ import annotations

import math
import pickletools
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

MOST_WORDS = 2**17
"""Of a pickle; one of a steering has a few dozen for each block."""

DAMAGED = (
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
)
"""What following a damaged one raises. The message of a `ValueError` itself says what is wrong; others say nothing."""

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
}


@dataclass(frozen=True)
class Name:
    """A class or a function that the pickle names; never looked up."""

    text: str


@dataclass(frozen=True)
class Storage:
    """Numbers of the file, which tensors are cut from."""

    numbers: Tensor


@dataclass
class Array:
    """A numpy array or dtype on its way: what is built comes by a later word."""

    value: Any = None


class _Mark:
    pass


def words_of(pickle: bytes | IO[bytes]) -> Iterator[tuple[str, Any]]:
    """The words of a pickle up to its end, each with what it is given.

    Raises:
        ValueError: One is none, or is given a text that Python would warn of.
    """
    following = pickletools.genops(pickle)
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                word, argument, _ = next(following)
            except StopIteration:
                return
            except Warning as warning:
                raise ValueError(str(warning)) from warning
        yield word.name, argument


class Machine:
    """What follows the words of one pickle. It raises what is in `DAMAGED`.

    Args:
        words: The pickle, or a stream that stands at its beginning, and then behind it.
        storages: The numbers of tensors that lie beside it, by their names; writable, so that tensors need no copies.
        size: The bytes of the whole file; no more numbers than that are made.
    """

    def __init__(self, words: bytes | IO[bytes], storages: Mapping[str, bytearray], size: int) -> None:
        self.words, self.storages, self.size, self.spent, self.values = words, storages, size, 0, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value: tensors and arrays are tensors on the CPU, in their own dtype."""
        return self.plain(self.last())

    def last(self) -> Any:
        """What is left when all words were followed."""
        for number, (word, argument) in enumerate(words_of(self.words)):
            if number > MOST_WORDS:
                raise ValueError("it is far too long for a steering")
            if word == "STOP":
                return self.stack.pop()
            self._step(word, argument)
        raise ValueError("it is cut off")

    def _step(self, word: str, argument: Any) -> None:
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
            self.stack.append(tuple(self._marked()))
        elif word in ("LIST", "DICT"):
            items = self._marked()
            self.stack.append([] if word == "LIST" else {})
            self._put(items, pairs=word == "DICT")
        elif word in ("APPENDS", "SETITEMS"):
            self._put(self._marked(), pairs=word == "SETITEMS")
        elif word == "APPEND":
            self._put([self.stack.pop()], pairs=False)
        elif word == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            self._put([key, value], pairs=True)
        elif word == "GLOBAL":
            self.stack.append(Name(argument.replace(" ", ".")))
        elif word == "STACK_GLOBAL":
            name, module = self.stack.pop(), self.stack.pop()
            self.stack.append(Name(f"{module:s}.{name:s}"))
        elif word == "BINPERSID":
            self.stack.append(self._storage(self.stack.pop()))
        elif word in ("REDUCE", "NEWOBJ"):
            arguments, function = self.stack.pop(), self.stack.pop()
            self.stack.append(self.called(function, arguments))
        elif word == "BUILD":
            state = self.stack.pop()
            if isinstance(self.stack[-1], Array):
                self.stack[-1].value = self.built(self.stack[-1].value, state)
            elif not isinstance(self.stack[-1], dict):  # attributes of a dictionary say nothing
                raise ValueError("it sets attributes of what is no array")
        elif word not in ("PROTO", "FRAME"):
            raise ValueError(f"it has the word {word}, which torch.save does not write")

    def _marked(self) -> list[Any]:
        items = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def _put(self, items: list[Any], *, pairs: bool) -> None:
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

    def _storage(self, given: Any) -> Storage:
        kind, name, key, _, count, *_ = given
        dtype = _DTYPES.get(name.text.removeprefix("torch.")) if isinstance(name, Name) else None
        if kind != "storage" or dtype is None:
            word = name.text if isinstance(name, Name) else "no storage"
            raise ValueError(f"it holds {word[:60]}; tensors of floats are wanted")
        content = self.storages.get(key, bytearray())
        if type(count) is not int or not 0 < count * dtype.itemsize <= len(content):
            raise ValueError("a tensor states more numbers than it has")
        return Storage(torch.frombuffer(content, dtype=dtype, count=count))

    def called(self, function: Any, arguments: Any) -> Any:
        """What a function that the pickle names would give; those that are not known are refused by name."""
        name = function.text if isinstance(function, Name) else "what is no function"
        if name == "torch._utils._rebuild_tensor_v2":
            return self._tensor(*arguments[:4])
        if name == "torch._utils._rebuild_parameter" and isinstance(arguments[0], Tensor):
            return arguments[0]
        if name == "collections.OrderedDict" and not arguments:
            return {}
        if name in ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"):
            return Array()
        if name == "numpy.dtype" and isinstance(arguments[0], str):
            return Array(arguments[0])
        if name in ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"):
            return self.array((), arguments[0], arguments[1])
        if name == "_codecs.encode" and arguments[1] == "latin1":
            return arguments[0].encode("latin1")
        raise ValueError(f"it would run {name[:80]}, and nothing in a file of a stranger is run")

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        numbers = (offset, *size, *stride)
        if not isinstance(storage, Storage) or not all(type(one) is int and one >= 0 for one in numbers):
            raise ValueError("a tensor in it has no sound shape")
        count = len(storage.numbers)
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        # Steps of 0 would make many numbers of one.
        if len(size) > 4 or not 0 < math.prod(size) <= count or not 0 <= last < count:
            raise ValueError("a tensor states another shape than it has numbers for")
        self.spend(math.prod(size) * storage.numbers.itemsize)
        return storage.numbers.as_strided(size, stride, offset).clone()

    def built(self, made: Any, state: Any) -> Any:
        """An array or a dtype, from what was made of it so far and what the pickle sets on it."""
        if isinstance(made, str):  # a dtype, whose state says the order of bytes
            if state[1] not in ("<", "|", "="):
                raise ValueError("its numbers are big-endian")
            return made
        _, shape, kind, fortran, content = state
        if fortran:
            raise ValueError("an array in it is in Fortran's order")
        return self.array(shape, kind, content)

    def array(self, shape: Any, kind: Any, content: Any) -> Tensor:
        """A numpy array of floats, of its bytes."""
        word = kind.value if isinstance(kind, Array) else None
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
        if isinstance(value, Array):
            value = value.value
        if isinstance(value, dict):
            return {key: self.plain(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.plain(one, depth + 1) for one in value)
        if isinstance(value, Tensor | str | int | float | bytes | type(None)):
            return value
        word = value.text[:80] if isinstance(value, Name) else "something"
        raise ValueError(f"it holds {word}, which is no value")


_LITERALS = set(
    "BININT BININT1 BININT2 LONG1 LONG4 INT LONG BINFLOAT FLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 BINSTRING SHORT_BINSTRING STRING".split()
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
