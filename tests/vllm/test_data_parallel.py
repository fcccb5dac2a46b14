"""Two data-parallel engines behind one address: both steer, and an upload at the one address reaches both.

With the second engine in a process tree of its own, as on a second machine:

    python -m pytest tests/vllm/test_data_parallel.py -m wide
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.vllm import cases

from trimtab.prompts import prompt_ids

TOKENS = 12
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0|1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONPATH": str(ROOT),
}
OPTIONS = ["--dtype=float32", "--enforce-eager", "--max-model-len=384", "--max-num-seqs=16"]
OPTIONS += ["--max-num-batched-tokens=64", "--block-size=32"]


class Server:
    """A server at an address of this machine."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        """The body of an answer."""
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def post(self, path: str, body: bytes, kind: str = "application/json") -> Any:
        """The JSON of an answer; a refusal fails the test with its text."""
        request = urllib.request.Request(self.address + path, body, {"content-type": kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{path}: {error.code} {error.read().decode()[:1000]}")

    def complete(self, prompt: list[int], steering: str | None) -> list[int]:
        """The tokens that follow a prompt."""
        body: dict[str, Any] = {
            "model": "tiny",
            "prompt": prompt,
            "max_tokens": TOKENS,
            "temperature": 0,
            "return_token_ids": True,
        }
        if steering is not None:
            body["vllm_xargs"] = {"steering": steering}
        [choice] = self.post("/v1/completions", json.dumps(body).encode())["choices"]
        found: list[int] = choice["token_ids"]
        return found

    def upload(self, name: str, folder: Path) -> None:
        """Sends the two files of a steering."""
        parts = [("name", None, name.encode())]
        parts += [
            (key, file, (folder / file).read_bytes())
            for key, file in (("document", "steering.json"), ("tensors", "steering.safetensors"))
        ]
        body = b""
        for key, file, content in parts:
            named = f'; filename="{file}"' if file else ""
            body += f'--part\r\nContent-Disposition: form-data; name="{key}"{named}\r\n\r\n'.encode()
            body += content + b"\r\n"
        self.post("/v1/steerings", body + b"--part--\r\n", "multipart/form-data; boundary=part")

    def finished(self) -> dict[str, float]:
        """How many requests each engine has finished."""
        counts: dict[str, float] = {}
        pattern = r'^vllm:request_success_total\{engine="(\d+)".*\} ([\d.e+]+)$'
        for engine, count in re.findall(pattern, self.get("/metrics"), re.MULTILINE):
            counts[engine] = counts.get(engine, 0) + float(count)
        return counts


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def process(command: list[str], log: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command and all that it starts, ended at the end."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **ENVIRONMENT, **more},
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            if started.poll() is None:
                os.killpg(started.pid, sent)
                try:
                    started.wait(20)
                except subprocess.TimeoutExpired:
                    continue
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)  # what it left behind


def wait_until_ready(server: Server, running: list[tuple[subprocess.Popen[bytes], Path]]) -> None:
    """Waits for the server; fails with what the processes printed if one ends."""
    for _ in range(600):
        for one, log in running:
            if one.poll() is not None:
                pytest.fail(f"it ended with {one.returncode}:\n{log.read_text()[-6000:]}")
        try:
            server.get("/health")
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"it did not start:\n{running[0][1].read_text()[-6000:]}")


def check(server: Server, asked: dict[str, Any]) -> None:
    """Many requests at once are answered by both engines, as transformers answers them, an uploaded steering too."""
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


def test_two_engines_behind_one_address(
    asked: dict[str, Any], model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "server.txt"
    command = ["trimtab", "serve", str(model_folder("llama")), "--name=tiny", f"--port={port}", "--upload"]
    command += [f"--steerings={asked['folder']}", f"--gates={cases.GATES}", "--", *OPTIONS]
    with process([*command, "--data-parallel-size=2"], log) as one:
        server = Server(port)
        wait_until_ready(server, [(one, log)])
        check(server, asked)


@pytest.mark.wide
def test_the_second_engine_on_another_machine(
    asked: dict[str, Any], model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """As over two machines: the second knows only the first's address, and its own options."""
    port, ranks = free_port(), free_port()
    options = [*OPTIONS, "--data-parallel-size=2", "--data-parallel-size-local=1"]
    options += ["--data-parallel-address=127.0.0.1", f"--data-parallel-rpc-port={ranks}"]
    model = str(model_folder("llama"))
    first = ["trimtab", "serve", model, "--name=tiny", f"--port={port}", "--upload"]
    first += [f"--steerings={asked['folder']}", f"--gates={cases.GATES}", "--", *options]
    settings = {"trimtab": {"steerings": str(asked["folder"]), "gates": cases.GATES}}
    second = [
        "tests.vllm.headless",
        f"--model={model}",
        "--headless",
        "--data-parallel-start-rank=1",
        *options,
    ]
    second += ["--worker-extension-cls=trimtab.engines.vllm.worker.SteeringWorker"]
    second += [f"--additional-config={json.dumps(settings)}"]
    logs = tmp_path / "first.txt", tmp_path / "second.txt"
    with (
        process(first, logs[0], VLLM_CPU_OMP_THREADS_BIND="0") as one,
        process(second, logs[1], VLLM_CPU_OMP_THREADS_BIND="1", VLLM_PLUGINS="trimtab") as other,
    ):
        server = Server(port)
        wait_until_ready(server, [(one, logs[0]), (other, logs[1])])
        check(server, asked)
