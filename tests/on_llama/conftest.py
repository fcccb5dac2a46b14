"""What the tests on llama.cpp share. Without llama-cpp-python none of them is collected: `make test-llama` has it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("llama_cpp") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def engine(smollm2_file: Path) -> Any:
    """SmolLM2 by its name, on the CPU in float32."""
    import trimtab

    return trimtab.load("smollm2", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def dequantised(smollm2_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same GGUF file, its weights taken out of their blocks: those that transformers runs."""
    import gguf

    from trimtab.baking.gguf_file import copy_keys

    reader = gguf.GGUFReader(smollm2_file)
    file = tmp_path_factory.mktemp("llama") / "smollm2.f32.gguf"
    writer = gguf.GGUFWriter(file, arch="llama")
    copy_keys(reader, writer)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, values.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
