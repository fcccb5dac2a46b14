"""A baked model as the GGUF file it came from, for llama.cpp and what is built on it.

All tensors of the model's own file stay as they are, block for block, but those that carry the steering: biases, which
are added to the file, and changed projections, in float32.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trimtab import arguments
from trimtab.baking.checkpoint import RECORD
from trimtab.engines.gguf import CARRIES
from trimtab.errors import ModelError, TrimtabError

if TYPE_CHECKING:
    from gguf import GGUFReader, GGUFWriter

_OPTIONAL_BIASES = ("llama",)
"""Architectures for which llama.cpp looks for a bias at the last projection, where the file may have one or not."""


def check_file(out: str | Path) -> None:
    """Let only a new file, or one that was baked before, be written to.

    Raises:
        TrimtabError: It is something else.
    """
    out = Path(out)
    if out.suffix.lower() != ".gguf":
        raise TrimtabError(f"{out} should end in .gguf, which is what llama.cpp and others look for")
    if out.is_dir() or (out.exists() and CARRIES.encode() not in _head(out)):
        raise TrimtabError(f"{out} is something else than a file that was baked; choose another name")


def write_gguf(baked: str | Path, model: str | Path, out: str | Path) -> Path:
    """Write the GGUF file of a model that was baked, as a bias or fitted.

    Args:
        baked: The folder that `bake` wrote, best in float32.
        model: The GGUF file that the model came from.
        out: The file to write, in one step; it must be new, or one that was written so before.

    Returns:
        The file.

    Raises:
        ModelError: The folder was baked as a module, is of another model than the file, or llama.cpp has no place for
            its biases.
        TrimtabError: The file cannot be written.
    """
    import gguf

    folder = arguments.place(baked, "baked", TrimtabError)
    model = arguments.place(model, "model", TrimtabError)
    out = arguments.place(out, "out", TrimtabError)
    check_file(out)
    record = _record(folder)
    if record["way"] == "module":
        raise ModelError(
            f"{folder} was baked as a module, code that llama.cpp cannot run; bake it as --way bias or --way fitted"
        )
    try:
        reader = gguf.GGUFReader(model)
        kind = str(reader.fields["general.architecture"].contents())
        names = _names(gguf, kind, int(reader.fields[f"{kind}.block_count"].contents()))
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"{model} is not the GGUF file of a model: {error}") from error
    changed = {_name_of(names, name, model): one for name, one in _tensors(folder, record["where"]).items()}
    _check(changed, reader, kind, model)

    writer = gguf.GGUFWriter(None, arch=kind)
    # First: `check_file` looks no further than the head, and the vocabulary is long.
    writer.add_string(CARRIES, str(record["steering"]["name"]))
    copy_keys(reader, writer)
    for tensor in reader.tensors:
        if tensor.name not in changed:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name, value in changed.items():
        writer.add_tensor(name, value.float().cpu().contiguous().numpy())
    _write(writer, out)
    return out


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2**16)


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {key: record[key] for key in ("way", "where", "steering")}
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} is no folder that was baked ({RECORD}: {error})") from error


def _tensors(folder: Path, names: list[str]) -> dict[str, Tensor]:
    """Those tensors of a checkpoint."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in set(names) & set(file.keys())}
    if missing := [name for name in names if name not in found]:
        raise ModelError(f"{folder} lacks the tensor {missing[0]} that its record names; bake it again")
    return found


def _names(gguf: Any, kind: str, blocks: int) -> Any:
    architecture = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}.get(kind)
    if architecture is None:
        raise ValueError(f"the gguf package knows no architecture {kind!r:.60}")
    return gguf.get_tensor_name_map(architecture, blocks)


def _name_of(names: Any, name: str, model: Path) -> str:
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise ModelError(f"{name} has no place in {model.name}: it is another model than was baked")
    return str(found)


def _check(changed: Mapping[str, Tensor], reader: GGUFReader, kind: str, model: Path) -> None:
    there = {tensor.name: tuple(reversed(tensor.shape.tolist())) for tensor in reader.tensors}
    for name, value in changed.items():
        if name in there:
            expected = there[name]
        elif name.endswith(".bias") and kind in _OPTIONAL_BIASES:
            expected = there.get(f"{name.removesuffix('.bias')}.weight", ())[:1]
        else:
            raise ModelError(
                f"llama.cpp looks for no {name} in models of the kind {kind}: a file with one would not load there"
            )
        if tuple(value.shape) != expected:
            raise ModelError(
                f"{name} has the shape {tuple(value.shape)}, and {expected} in {model.name}: it is another model than "
                "was baked"
            )


def copy_keys(reader: GGUFReader, writer: GGUFWriter) -> None:
    """Copy what a file says of its model, tokenizer and chat template, but for what a writer says by itself."""
    from gguf import GGUFValueType

    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", CARRIES):
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)


def _write(writer: GGUFWriter, out: Path) -> None:
    work = out.with_name(f".{out.name[:64]}-{secrets.token_hex(4)}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer.write_header_to_file(work)
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            with work.open("rb") as file:
                os.fsync(file.fileno())
            work.replace(out)
        finally:
            work.unlink(missing_ok=True)
    except OSError as error:
        raise TrimtabError(f"cannot write {out}: {error.strerror or error}") from error
