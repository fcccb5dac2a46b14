"""Models in GGUF files, read by transformers: the file's weights become those of an ordinary model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from trimtab.engines.names import Source
from trimtab.errors import ModelError

CARRIES = "trimtab.steering"
"""The key under which a file that was baked says which steering it carries."""


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


def check_whole(source: Source, revision: str | None = None) -> None:
    """Refuses a file of which transformers leaves something out: a model of another kind, it would say nothing of it.

    Such are the biases that carry a steering in a Llama: llama.cpp adds them, and transformers' reader drops them.

    Raises:
        ModelError: It has biases at the projections of a Llama's feed-forward parts.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata
    from transformers.utils import cached_file

    path = cached_file(source.place, source.gguf_file, revision=revision)
    metadata, names = read_gguf_metadata(path)
    dropped = [name for name in names if re.fullmatch(r"blk\.\d+\.ffn_(down|up|gate)\.bias", name)]
    if dropped and metadata.get("general.architecture") == "llama":
        carried = " (it carries a steering)" if CARRIES in metadata else ""
        raise ModelError(
            f"{source.gguf_file} has biases such as {dropped[0]}{carried}, which transformers would leave out: run it "
            "in llama.cpp, or load the folder of transformers that it was made with"
        )


def saved_dtype(source: Source, revision: str | None = None) -> torch.dtype:
    """The floating dtype that a file was written in; bfloat16 for one that is quantised."""
    from transformers.integrations.gguf.reader import GgufHeader
    from transformers.utils import cached_file

    path = cached_file(source.place, source.gguf_file, revision=revision)
    return GgufHeader.from_file(path).dtype or torch.bfloat16


def settle_tokenizer(tokenizer: Any, source: Source, revision: str | None = None) -> None:
    """Lets prompts begin with the token that the file says they begin with; transformers leaves that out."""
    from transformers.integrations.gguf.reader import read_gguf_metadata
    from transformers.utils import cached_file

    metadata, _ = read_gguf_metadata(cached_file(source.place, source.gguf_file, revision=revision))
    begins = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [
        tokenizer.bos_token_id
    ]
    if metadata.get("tokenizer.ggml.add_bos_token") is True and not begins:
        tokenizer.add_bos_token = True


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
def all_types() -> Iterator[None]:
    """While a model is loaded, every kind of block is read that the gguf package can take weights out of.

    transformers has its own arithmetic for the usual kinds only. Files name one kind and hold others besides: in a
    model whose width is no multiple of 256, `Q4_K_M` has Q5_0.
    """
    import gguf
    from gguf.quants import dequantize
    from transformers.integrations.gguf import dequant

    def taken_out(kind: gguf.GGMLQuantizationType, blocks: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(dequantize(blocks.numpy(), kind)).to(dtype)

    values = {"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"}
    added = [
        kind
        for kind in gguf.GGMLQuantizationType
        if kind.name not in values and kind not in dequant.GGML_BLOCK
    ]
    for kind in added:
        dequant.GGML_BLOCK[int(kind)] = gguf.GGML_QUANT_SIZES[kind]
        dequant.GGML_NAME[int(kind)] = kind.name
        dequant._DEQUANT[int(kind)] = partial(taken_out, kind)
    try:
        yield
    finally:
        for kind in added:
            for table in (dequant.GGML_BLOCK, dequant.GGML_NAME, dequant._DEQUANT):
                del table[int(kind)]


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
