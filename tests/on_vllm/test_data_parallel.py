"""Two data-parallel engines behind one address: both steer, and an upload at the one address reaches both.

With the second engine in a process tree of its own, as on a second machine:

    python -m pytest tests/vllm/test_data_parallel.py -m wide
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.serving.server import form, free_port, running, started, starting
from tests.on_vllm import cases
from tests.on_vllm.conftest import ROOT

from trimtab.engines.chat import prompt_ids

TOKENS = 12
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0|1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "PYTHONPATH": str(ROOT),
}
OPTIONS = ["--dtype=float32", "--enforce-eager", "--max-model-len=384", "--max-num-seqs=16"]
OPTIONS += ["--max-num-batched-tokens=64", "--block-size=32"]


class Client:
    """What is asked of a server.

    Args:
        http: A client of its address.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def complete(self, prompt: list[int], steering: str | None) -> list[int]:
        """The tokens that follow a prompt, without the end token."""
        body: dict[str, Any] = {
            "model": "tiny",
            "prompt": prompt,
            "max_tokens": TOKENS,
            "temperature": 0,
            "return_token_ids": True,
        }
        if steering is not None:
            body["vllm_xargs"] = {"steering": steering}
        answer = self._http.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        [choice] = answer.json()["choices"]
        found: list[int] = choice["token_ids"]
        return found[:-1] if choice["finish_reason"] == "stop" else found

    def upload(self, name: str, folder: Path) -> None:
        """Sends the two files of a steering."""
        answer = self._http.post("/v1/steerings", **form(name, folder))
        assert answer.status_code == 200, answer.text

    def finished(self) -> dict[str, float]:
        """How many requests each engine has finished."""
        counts: dict[str, float] = {}
        pattern = r'^vllm:request_success_total\{engine="(\d+)".*\} ([\d.e+]+)$'
        for engine, count in re.findall(pattern, self._http.get("/metrics").text, re.MULTILINE):
            counts[engine] = counts.get(engine, 0) + float(count)
        return counts


def check(address: str, asked: dict[str, Any]) -> None:
    """Many requests at once are answered by both engines, as transformers answers them, an uploaded steering too."""
    with httpx.Client(base_url=address, timeout=120) as http:
        server = Client(http)
        uploaded = asked["uploaded"]
        server.upload(uploaded, asked["apart"] / uploaded)
        with ThreadPoolExecutor(16) as pool:
            for _ in range(2):
                answers = list(pool.map(server.complete, asked["prompts"], asked["steerings"]))
                assert answers == asked["answers"]
        counts = server.finished()
        assert set(counts) == {"0", "1"}
        assert min(counts.values()) > len(answers) / 4, f"one engine did nearly all: {counts}"
        # Alone, each engine in turn: the same steering from both, also where nothing is cached.
        number = asked["steerings"].index(uploaded)
        again = [server.complete(asked["prompts"][number], uploaded) for _ in range(4)]
        assert again == [asked["answers"][number]] * 4


@pytest.fixture(scope="module")
def asked(reference: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Requests, and what transformers answers; one steering is not in the server's folder."""
    engine = reference("llama")
    known = cases.steerings(engine)
    uploaded = list(known)[-1]
    folder, apart = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("apart")
    for name, steering in known.items():
        steering.save((apart if name == uploaded else folder) / name)
    names = [None, *known]
    rows = [names[number % len(names)] for number in range(3 * len(names))]
    texts = [cases.LONG if number % 2 else f"Item {number}" for number in range(len(rows))]
    answers = engine.generate(
        texts, steering=[known[name] if name else None for name in rows], max_new_tokens=TOKENS
    )
    expected = [list(answer.token_ids) for answer in answers]
    assert len({tuple(answer) for answer in expected}) > len(names)
    return {
        "prompts": [prompt_ids(engine.tokenizer, text) for text in texts],
        "steerings": rows,
        "answers": expected,
        "uploaded": uploaded,
        "folder": folder,
        "apart": apart,
    }


def arguments(asked: dict[str, Any]) -> list[str]:
    return ["--name=tiny", "--upload", f"--steerings={asked['folder']}", f"--gates={cases.GATES}"]


def test_two_engines_behind_one_address(
    asked: dict[str, Any], model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    options = [*OPTIONS, "--data-parallel-size=2"]
    model, log = str(model_folder("llama")), tmp_path / "server.txt"
    with running(model, log, arguments(asked), options, environment=ENVIRONMENT) as server:
        check(server.address, asked)


@pytest.mark.wide
def test_the_second_engine_on_another_machine(
    asked: dict[str, Any], model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """As over two machines: the second knows only the first's address, and its own options."""
    model = str(model_folder("llama"))
    options = [*OPTIONS, "--data-parallel-size=2", "--data-parallel-size-local=1"]
    options += ["--data-parallel-address=127.0.0.1", f"--data-parallel-rpc-port={free_port()}"]
    settings = {"trimtab": {"steerings": str(asked["folder"]), "gates": cases.GATES}}
    second = ["tests.on_vllm.headless", f"--model={model}", "--headless", "--data-parallel-start-rank=1"]
    second += [*options, "--worker-extension-cls=trimtab.vllm.worker.worker.SteeringWorker"]
    second += [f"--additional-config={json.dumps(settings)}"]
    of_first = {**ENVIRONMENT, "VLLM_CPU_OMP_THREADS_BIND": "0"}
    of_second = {**ENVIRONMENT, "VLLM_CPU_OMP_THREADS_BIND": "1", "VLLM_PLUGINS": "trimtab"}
    with (
        starting(model, tmp_path / "first.txt", arguments(asked), options, environment=of_first) as server,
        started(second, tmp_path / "second.txt", of_second) as other,
    ):
        server.wait_until_ready(beside=[other])
        check(server.address, asked)
