"""How often answers that llama.cpp writes follow an instruction: of a baked GGUF file, or under a control vector.

    python -m benchmarks.llama baked.gguf --instruction lowercase
    python -m benchmarks.llama SmolLM2-135M-Instruct.Q4_1.gguf --control-vector lowercase.gguf --instruction lowercase

Needs llama-cpp-python: the environment of `make test-llama` has it. Prompts are made by the model's tokenizer and chat
template as transformers reads them, and answered greedily, one at a time.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.running import run
from trimtab.engines.names import source_of
from trimtab.instructions.spelling import resolve_all
from trimtab.measure.statistics import wilson


class LlamaCpp:
    """A model in llama.cpp itself, by its Python package; on the CPU."""

    def __init__(self, file: Path, context: int = 1024) -> None:
        import llama_cpp

        self._library = llama_cpp
        self._llama = llama_cpp.Llama(str(file), n_ctx=context, n_batch=context, n_threads=1, verbose=False)
        self.width = self._llama.n_embd()

    def close(self) -> None:
        """Give its memory back."""
        self._llama.close()

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, special ones too."""
        return list(self._llama.tokenize(text.encode(), add_bos=False, special=True))

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens stand for."""
        return str(self._llama.detokenize(list(tokens)).decode(errors="replace"))

    @contextmanager
    def steered(self, file: Path) -> Iterator[None]:
        """While entered, a control vector acts, read as llama.cpp's `common_control_vector_load` reads it.

        `direction.N` acts at layer N, from 1 on; layers without one are zero.
        """
        from gguf import GGUFReader

        vectors = {int(one.name.partition(".")[2]): one.data for one in GGUFReader(file).tensors}
        if min(vectors) < 1 or any(vector.shape != (self.width,) for vector in vectors.values()):
            raise ValueError(f"{file} is no control vector for this model")
        data = np.zeros((max(vectors), self.width), dtype=np.float32)
        for layer, vector in vectors.items():
            data[layer - 1] = vector
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        library, context = self._library, self._llama.ctx
        if library.llama_set_adapter_cvec(context, pointer, data.size, self.width, 1, max(vectors)) != 0:
            raise ValueError(f"llama.cpp does not take {file}")
        try:
            yield
        finally:
            library.llama_set_adapter_cvec(context, None, 0, self.width, 1, 1)

    def answer(
        self, prompt: Sequence[int], ends: Sequence[int], most: int
    ) -> tuple[list[int], list[np.ndarray[Any, Any]]]:
        """Greedy tokens with the end token, and for each the logits `[vocabulary]` that it was chosen by."""
        self._llama.reset()
        answer: list[int] = []
        seen = [self._logits(prompt)]
        while True:
            answer.append(int(seen[-1].argmax()))
            if answer[-1] in ends or len(answer) == most:
                return answer, seen
            seen.append(self._logits(answer[-1:]))

    def _logits(self, tokens: Sequence[int]) -> np.ndarray[Any, Any]:
        self._llama.eval(list(tokens))
        found = self._library.llama_get_logits_ith(self._llama.ctx, -1)
        return np.ctypeslib.as_array(found, shape=(self._llama.n_vocab(),)).copy()


def command(
    file: Annotated[Path, typer.Argument(help="The GGUF file of a model.")],
    instruction: Annotated[str, typer.Option("--instruction", "-i", help="What to check.")],
    control_vector: Annotated[Path | None, typer.Option(help="A control vector that acts.")] = None,
    tokenizer: Annotated[str, typer.Option(help="A model whose tokenizer makes the prompts.")] = "smollm2",
    queries: Annotated[int, typer.Option(min=1, help="Test questions.")] = 24,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 128,
) -> None:
    """Print how many answers follow the instruction, with the Wilson interval."""
    from transformers import AutoTokenizer, GenerationConfig

    from trimtab.engines.chat import prompt_ids
    from trimtab.engines.ends import end_tokens
    from trimtab.prompts.queries import base_queries, sample_queries

    (checked,) = resolve_all([instruction])
    source = source_of(tokenizer)
    reader = AutoTokenizer.from_pretrained(source.place, **source.reading)
    ends = end_tokens(GenerationConfig(), reader)
    model = LlamaCpp(file)
    followed = 0
    with model.steered(control_vector) if control_vector else nullcontext():
        for query in sample_queries(base_queries("test"), queries):
            tokens, _ = model.answer(prompt_ids(reader, query), list(ends), max_new_tokens)
            text = model.text([token for token in tokens if token not in ends])
            followed += checked.for_query(query).check(text)
    model.close()
    interval = wilson(followed, queries)
    print(
        f"{file.name}: {followed} of {queries} follow {checked.label} "
        f"({followed / queries:.2f}, {interval.low:.2f} to {interval.high:.2f})"
    )


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.llama"))
