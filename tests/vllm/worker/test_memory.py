"""Tables that do not fit beside the weights."""

from __future__ import annotations

import logging

import pytest
import torch

from trimtab.errors import ModelError
from trimtab.vllm.worker import memory
from trimtab.vllm.worker.memory import check_memory


def test_tables_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(memory, "_free", lambda device: 2**30)
    # Once vLLM is imported, its logger has a level and handlers of its own.
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="vllm.trimtab")
    check_memory(2**25, torch.device("cpu"), slots=4, gates=2)
    assert caplog.messages == []
    check_memory(2**30, torch.device("cpu"), slots=4, gates=2)
    assert "take 1.0 of 1.0 GiB, which the cache will not have: for 4 requests" in caplog.text
    with pytest.raises(
        ModelError, match=r"for 4 requests at once with 2 gated edits each take 2.0 GiB, and 1.0 GiB"
    ):
        check_memory(2**31, torch.device("cpu"), slots=4, gates=2)
