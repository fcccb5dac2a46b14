"""Models in GGUF files, read by transformers: the file's weights become those of an ordinary model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch

from trimtab.engines.names import Source
from trimtab.errors import ModelError


def check_installed(name: str) -> None:
    """Refuses to go on without the packages that transformers reads such a file by.

    Raises:
        ModelError: One is missing.
    """
    from transformers.utils import is_accelerate_available, is_gguf_available

    needed = {"gguf": is_gguf_available(), "accelerate": is_accelerate_available()}
    if missing := [package for package, there in needed.items() if not there]:
        raise ModelError(
            f"{name} is a GGUF file; to read it takes the package {' and '.join(missing)}: pip install 'trimtab[gguf]'"
        )


def options() -> dict[str, Any]:
    """Of `from_pretrained`: all weights are taken out of their blocks, in float32.

    Packed ones have neither gradients nor a digest; and transformers would unpack them by arithmetic in the dtype that
    is asked for, with its errors, where rounding the result gives one model, with one digest, in every dtype.
    """
    from transformers import GgufConfig

    return {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}


def saved_dtype(source: Source, revision: str | None = None) -> torch.dtype:
    """The floating dtype that a file was written in; bfloat16 for one that is quantised."""
    from transformers.integrations.gguf.reader import GgufHeader
    from transformers.utils import cached_file

    path = cached_file(source.place, source.gguf_file, revision=revision)
    return GgufHeader.from_file(path).dtype or torch.bfloat16


def settle(model: Any, dtype: torch.dtype) -> None:
    """Makes what transformers read an ordinary model of that dtype, which can be saved as one."""
    for config in (model.config, model.config.get_text_config()):
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        config.dtype = dtype
    for parameter in model.parameters():  # buffers stay: the angles of positions need float32
        parameter.data = parameter.data.to(dtype)


@contextmanager
def read_once() -> Iterator[None]:
    """While a model is loaded, its file's head is parsed once, and the names of weights are made once.

    transformers does the first four times, for configuration, tokenizer and weights, and the second for every module,
    which is most of the time that a small model takes to load.
    """
    import gguf

    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    patched: Any = gguf
    patched.GGUFReader, patched.get_tensor_name_map = cache(reader), cache(names)
    try:
        yield
    finally:
        patched.GGUFReader, patched.get_tensor_name_map = reader, names


@contextmanager
def quiet_bar() -> Iterator[None]:
    """Without the bar of the reader of older architectures, which asks nobody whether it may be drawn."""
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = getattr(reader, "tqdm", None)
    if bar is None:
        yield
        return
    reader.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        reader.tqdm = bar
