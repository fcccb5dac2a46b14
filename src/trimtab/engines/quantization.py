"""Weights in 8 or 4 bits: what transformers is told for it, by the package that does it best on the device.

Edits stay in float32, and gradients pass through the weights to them, so that a quantised model learns as any other.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch

from trimtab.errors import ModelError

Quantization = Literal["4bit", "8bit"]


def quantization_config(bits: str, dtype: torch.dtype, *, on_cuda: bool) -> Any:
    """What transformers is told to hold weights in so many bits and compute in that dtype.

    bitsandbytes on CUDA: NF4 in blocks of 64, or int8 by rows. torchao elsewhere, and where bitsandbytes is missing:
    int8 by rows, or integers of 4 bits in groups of 32, which torch has no packed product with gradients for on a CPU:
    they take as much memory as 8 bits there. (bitsandbytes runs on a CPU too, but its 4-bit product there has no
    gradient: what was learned through it would be wrong.)

    Raises:
        ModelError: There is no such quantization, or neither package.
    """
    if bits not in get_args(Quantization):
        raise ModelError(f"there is no quantization {bits!r}; {' or '.join(get_args(Quantization))}")
    if find_spec("accelerate") is not None:
        if on_cuda and find_spec("bitsandbytes") is not None:
            return _of_bitsandbytes(bits, dtype)
        if find_spec("torchao") is not None:
            return _of_torchao(bits)
    raise ModelError(
        f"{bits} weights take the packages accelerate and torchao, or bitsandbytes on a GPU: "
        "pip install 'trimtab[quantization]'"
    )


def _of_bitsandbytes(bits: str, dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _of_torchao(bits: str) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, PerGroup
    from transformers import TorchAoConfig

    dtypes: Any = torch
    if bits == "8bit":
        return TorchAoConfig(Int8WeightOnlyConfig())
    return TorchAoConfig(IntxWeightOnlyConfig(weight_dtype=dtypes.int4, granularity=PerGroup(32)))
