"""llm-steer-instruct, the code of A. Stolfo et al. (ICLR 2025, arXiv 2410.12877): a table in an HDF5 file.

    pre_computed_ivs_best_layer_validation_with_perplexity_instr.h5, by pandas' `to_hdf(key="df")`:

    instruction                    selected_layer  instr_dir   avg_proj  avg_proj_no_instr
    detectable_format:json_format              20  [d], unit       12.5               -3.1

`adjust_rs` sets the projection at the output of that layer to `avg_proj`, the mean of prompts with the instruction;
`add_vector` adds the direction. Layer -1 is what its search found where no layer helped: it does not steer then.

pandas pickles the columns of texts, arrays and tensors into one cell of the file. That cell is followed by hand, and
nothing in it is called; but the library of HDF5 believes much of what a file states, so that it must be allowed.
"""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.formats import torch_files
from trimtab.formats.base import Content, Format
from trimtab.formats.bounded import first_bytes, read_bytes
from trimtab.formats.pickled import DAMAGED, Array, Machine, Name, Storage, words_of
from trimtab.steering.documents import finite_number
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

MAGIC = b"\x89HDF\r\n\x1a\n"
_COLUMNS = ("instruction", "selected_layer", "instr_dir", "avg_proj")
_MOST_BLOCKS = 16
_MOST_ROWS = 4096
_ADDRESS = 8
_CELL = struct.Struct("<IQI")  # of bytes that lie in a heap: how many, the heap's address, their number there
_HEAP = struct.Struct("<4s4sQ")  # its signature, version and size
_OBJECT = struct.Struct("<H6xQ")  # number and size of what follows
_METHODS = ("adjust_rs", "add_vector")
_OLD_MAGIC = (
    0x1950A86A20F9469CFC6C  # of torch.save before it wrote zip files, as tensors in pickles still are
)


def recognises(path: Path) -> bool:
    """Whether it is an HDF5 file."""
    return first_bytes(path, len(MAGIC)) == MAGIC


def read(
    path: Path, model: ModelIdentity, *, instruction: str | None = None, method: str = "adjust_rs"
) -> Content:
    """Read the edit of one instruction.

    Args:
        path: The file.
        model: The model it is for.
        instruction: Which row, by its IFEval id; None takes the only one that steers.
        method: `adjust_rs`, or `add_vector`, whose weight is in their call: the import's strength.
    """
    if method not in _METHODS:
        raise SteeringError(f"method is {' or '.join(_METHODS)}, not {method!r:.60}")
    rows = _rows(path)
    row = _chosen(path, rows, instruction)
    name, block = row["instruction"], row["selected_layer"]
    where = f"{path} ({name:.60})"
    vector = torch_files.vector(row["instr_dir"], f"{where}: instr_dir")
    settings = {"instruction": name, "method": method}
    if method == "add_vector":
        return Content((Edit.add(block, vector),), settings)
    target = row["avg_proj"]
    number = target.item() if isinstance(target, Tensor) and target.numel() == 1 else target
    edit = Edit(block, vector, alpha=finite_number(number, "avg_proj", where), p=-vector)
    return Content((edit,), settings)


def write(steering: Steering, path: Path) -> str:
    """Writes nothing: such a file is pickled, and read there by a program that takes it from its own folders."""
    raise SteeringError(
        f"no file of llm-steer-instruct is written, since it would be a pickle; '{steering.name}' can go to vllm-hook, "
        "which keeps the same projection of one block"
    )


def _chosen(path: Path, rows: list[dict[str, Any]], wanted: Any) -> dict[str, Any]:
    steers = [row for row in rows if row["selected_layer"] != -1]
    names = ", ".join(f"{row['instruction']:.60}" for row in steers[:40])
    if wanted is None:
        if len(steers) != 1:
            raise SteeringError(
                f"{path} has {f'vectors for {names}; say which: --option instruction=ID' if steers else 'no vectors'}"
            )
        return steers[0]
    found = [row for row in rows if row["instruction"] == wanted]
    if len(found) != 1:
        raise SteeringError(
            f"{path} has {len(found) or 'no'} rows for the instruction {wanted!r:.60}; it has {names}"
        )
    if found[0]["selected_layer"] == -1:
        raise SteeringError(
            f"{path} says of {wanted!r:.60} not to steer: no layer helped in the search that made it"
        )
    return found[0]


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the table, each with the columns that are wanted, of sound types."""
    try:
        import h5py
    except ImportError:
        raise SteeringError(
            f"{path} is an HDF5 file; to read it takes the package h5py: pip install 'trimtab[hdf5]'"
        ) from None
    content = read_bytes(path)
    if not content.startswith(MAGIC):
        raise SteeringError(f"{path} is no HDF5 file, as those of llm-steer-instruct are")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            columns = _columns(h5py, file, content)
    except (*DAMAGED, MemoryError) as error:
        told = str(error)[:300] if type(error) is ValueError else "it is damaged"
        raise SteeringError(f"{path} cannot be read: {told}") from error
    count = len(columns["instruction"])
    rows = [{name: values[number] for name, values in columns.items()} for number in range(count)]
    for row in rows:
        name, layer = row["instruction"], row["selected_layer"]
        if not isinstance(name, str) or type(layer) is not int or layer < -1:
            raise SteeringError(
                f"{path} cannot be read: a row has the instruction {name!r:.60} and the layer {layer!r:.60}"
            )
    return rows


def _columns(h5py: Any, file: Any, content: bytes) -> dict[str, list[Any]]:
    """The columns that are wanted, of one length; pandas keeps those of one type together, in blocks."""
    group = _member(h5py, file, "df", h5py.Group)
    columns: dict[str, list[Any]] = {}
    for number in range(_MOST_BLOCKS):
        if f"block{number}_items" not in group:
            break
        names = _array(
            h5py, _member(h5py, group, f"block{number}_items", h5py.Dataset), len(content)
        ).tolist()
        values = _member(h5py, group, f"block{number}_values", h5py.Dataset)
        cells = _block(h5py, values, content)
        if not names or len(cells) % len(names):
            raise ValueError("a block of its table has not a cell for each column and row")
        for place, name in enumerate(names):
            if isinstance(name, bytes):
                columns[name.decode("utf-8")] = cells[place :: len(names)]
    if any(name not in columns for name in _COLUMNS):
        raise ValueError(f"its table has not the columns {', '.join(_COLUMNS)} of precomputed vectors")
    found = {name: columns[name] for name in _COLUMNS}
    if len({len(values) for values in found.values()}) > 1 or len(found["instruction"]) > _MOST_ROWS:
        raise ValueError("its columns are of different lengths, or far too long")
    return found


def _block(h5py: Any, values: Any, content: bytes) -> list[Any]:
    """The cells of a block, row by row."""
    if h5py.check_vlen_dtype(values.dtype) is None:
        cells: list[Any] = _array(h5py, values, len(content)).ravel().tolist()
        return cells
    if values.shape != (1,) or h5py.check_vlen_dtype(values.dtype) != "u1":
        raise ValueError("a block of its table is no pickle")
    found = _Cells(_heaped(values, content), {}, len(content)).run()
    if not isinstance(found, list):
        raise ValueError("a block of its table is no array")
    return found


def _heaped(values: Any, content: bytes) -> bytes:
    """The bytes of the only cell of a dataset whose cells have lengths of their own, from the heap that they lie in.

    The library of HDF5 would look for them without end in a heap that is damaged. Source: HDF5 File Format
    Specification Version 3.0, sections III.E (global heap) and VIII.C (variable-length data).
    """
    if values.file.id.get_create_plist().get_sizes() != (_ADDRESS, _ADDRESS):
        raise ValueError("its addresses are not of eight bytes")
    if values.chunks:
        _, cell = values.id.read_direct_chunk((0,))
    else:
        start = values.id.get_offset()
        cell = b"" if start is None else content[start : start + _CELL.size]
    length, place, wanted = _CELL.unpack(cell[: _CELL.size])
    magic, _, end = _HEAP.unpack_from(content, place)
    end = min(place + end, len(content))
    place += _HEAP.size
    while magic == b"GCOL" and place + _OBJECT.size <= end:
        number, size = _OBJECT.unpack_from(content, place)
        place += _OBJECT.size
        if number == wanted and length <= size <= end - place:
            return content[place : place + length]
        place += size + -size % _ADDRESS
    raise ValueError("a block of its table is not where it says")


def _array(h5py: Any, values: Any, size: int) -> Any:
    if values.dtype.kind not in "Sif" or values.size * values.dtype.itemsize > size:
        raise ValueError("an array of its table is not of numbers or texts, or states more than it has")
    return values[()]


def _member(h5py: Any, group: Any, name: str, kind: Any) -> Any:
    """What lies in a group itself, and in this file: a link may lead anywhere."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"it has no table of pandas: {name} is missing, or elsewhere")
    found = group[name]
    if not isinstance(found, kind):
        raise ValueError(f"it has no table of pandas: {name} is something else")
    if kind is h5py.Dataset and (found.external or found.is_virtual or found.compression):
        raise ValueError(f"{name} lies in another file, or is compressed, which pandas does not do unasked")
    return found


class _Cells(Machine):
    """Follows an array of objects, and what tensors and arrays are in a pickle that is no file of torch.save."""

    def called(self, function: Any, arguments: Any) -> Any:
        name = function.text if isinstance(function, Name) else ""
        if name in ("numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"):
            content, kind, shape, order = arguments
            if order != "C":
                raise ValueError("an array in it is in Fortran's order")
            return self.array(shape, kind, bytes(content))
        if name == "torch.storage._load_from_bytes":
            self.spend(len(arguments[0]))
            return _stored(arguments[0])
        return super().called(function, arguments)

    def built(self, made: Any, state: Any) -> Any:
        if made is None and isinstance(state[2], Array) and str(state[2].value).startswith("O"):
            _, shape, _, _, content = state
            if not isinstance(content, list) or math.prod(shape) != len(content):
                raise ValueError("a block of its table states another shape than it has cells for")
            return content
        return super().built(made, state)


def _stored(content: bytes) -> Storage:
    """The numbers of a tensor as torch pickles it: five pickles, and behind them how many there are, and they."""
    stream = io.BytesIO(content)
    if Machine(stream, {}, len(content)).run() != _OLD_MAGIC:
        raise ValueError("a tensor in it is of no torch that is known")
    for _ in range(2):  # the version, and the sizes of C's types where it was written
        Machine(stream, {}, len(content)).run()
    place = stream.tell()
    for _ in words_of(stream):
        pass
    (key,) = Machine(stream, {}, len(content)).run()
    count = int.from_bytes(stream.read(8), "little")
    numbers = bytearray(stream.read())
    stream.seek(place)
    found = Machine(stream, {key: numbers}, len(content)).last()
    if not isinstance(found, Storage) or len(found.numbers) != count:
        raise ValueError("a tensor states more numbers than it has")
    return found


FORMAT = Format(
    "llm-steer-instruct",
    "The code of Stolfo et al., ICLR 2025 (.h5); read only.",
    recognises,
    read,
    write,
    pickled=True,
)
