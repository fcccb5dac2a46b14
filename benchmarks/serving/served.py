"""One vLLM in a process of its own, which serves batches on demand and says how long each took."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from trimtab.errors import TrimtabError


@dataclass(frozen=True)
class Load:
    """The batch that is served.

    Attributes:
        requests: How many at once; all fit into one batch.
        prompt_tokens: Tokens of each prompt.
        new_tokens: Tokens of each answer.
        eager: Run without `torch.compile`.
        gates: Gated edits that a request may have in a block; how much room the tables have.
    """

    requests: int = 256
    prompt_tokens: int = 64
    new_tokens: int = 32
    eager: bool = False
    gates: int = 4


@dataclass(frozen=True)
class Run:
    """One batch.

    Attributes:
        seconds: From handing over the requests to the last answer.
        cpu_seconds: Processor time of all processes of this vLLM in between.
        answers: A digest of each answer.
    """

    seconds: float
    cpu_seconds: float
    answers: tuple[str, ...]


class Served:
    """A vLLM that waits for batches.

    Args:
        model: Folder of the model.
        load: What it will be given.
        steerings: Folder of the steerings; None runs it without any plugin.
        log: File for all that its processes print.
    """

    def __init__(self, model: Path, load: Load, steerings: Path | None, log: Path) -> None:
        self._log = log
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, model, load, steerings, log))
        self._process.start()
        theirs.close()
        self._receive()

    def run(self, seed: int, names: Sequence[str] = ()) -> Run:
        """Serves one batch of random prompts, which no cache knows.

        Args:
            seed: The same seed gives the same prompts.
            names: Steerings, dealt out among the requests in turn; none for unsteered requests.

        Raises:
            TrimtabError: The process died, or could not answer.
        """
        self._connection.send((seed, list(names)))
        found: Run = self._receive()
        return found

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            answer = "it ended"
        if isinstance(answer, str):
            raise TrimtabError(f"vLLM could not serve: {answer[:300]}; all that it said is in {self._log}")
        return answer


def _serve(connection: Connection, model: Path, load: Load, steerings: Path | None, log: Path) -> None:
    """The process: makes the engine, then answers until nobody asks."""
    with log.open("wb") as file:  # vLLM's processes write where this one does
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Set before vLLM is imported: it reads them once.
    os.environ |= {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if steerings is None:
        os.environ["VLLM_PLUGINS"] = ""
    engine = None
    try:
        engine = _engine(model, load, steerings)
        connection.send(None)
        while True:
            seed, names = connection.recv()
            connection.send(_one_run(engine, load, seed, names))
    except EOFError:
        return
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        raise
    finally:
        if engine is not None:
            engine.llm_engine.engine_core.shutdown()  # its processes would outlive this one


def _engine(model: Path, load: Load, steerings: Path | None) -> Any:
    from vllm import LLM

    steered = {"trimtab": {"steerings": str(steerings), "gates": load.gates}}
    return LLM(
        model=str(model),
        dtype="bfloat16",
        seed=0,
        max_num_seqs=load.requests,
        max_model_len=load.prompt_tokens + load.new_tokens,
        enforce_eager=load.eager,
        additional_config={} if steerings is None else steered,
    )


def _one_run(engine: Any, load: Load, seed: int, names: Sequence[str]) -> Run:
    import numpy as np

    from vllm import SamplingParams

    size = engine.llm_engine.model_config.get_vocab_size()
    tokens = (
        np.random.default_rng(seed % 2**32).integers(4, size, (load.requests, load.prompt_tokens)).tolist()
    )
    prompts = [{"prompt_token_ids": one} for one in tokens]
    params = [
        SamplingParams(
            temperature=0.0,
            max_tokens=load.new_tokens,
            ignore_eos=True,
            detokenize=False,
            extra_args={"steering": names[number % len(names)]} if names else None,
        )
        for number in range(load.requests)
    ]
    cpu, start = _cpu_seconds(), time.perf_counter()
    outputs = engine.generate(prompts, params, use_tqdm=False)
    seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    answers = [output.outputs[0].token_ids for output in outputs]
    if any(len(answer) != load.new_tokens for answer in answers):
        raise TrimtabError("an answer is shorter than asked for, so the runs cannot be compared")
    return Run(
        seconds,
        cpu,
        tuple(hashlib.sha256(repr(list(answer)).encode()).hexdigest()[:12] for answer in answers),
    )


def _cpu_seconds() -> float:
    """Processor time of this process and of all it started that are alive."""
    import psutil

    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(one.user + one.system for one in times)
