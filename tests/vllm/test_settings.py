"""The entry of `additional_config` that turns steering on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trimtab._version import __version__
from trimtab.errors import ModelError
from trimtab.vllm.settings import SteeringSettings, cache_bytes_on_cpu


def config(additional: Any) -> Any:
    return SimpleNamespace(additional_config=additional)


@pytest.mark.parametrize("additional", [{}, {"other": {}}, None])
def test_off_unless_asked_for(additional: Any) -> None:
    assert SteeringSettings.from_vllm(config(additional)) is None


def test_what_is_left_out_has_a_default() -> None:
    assert SteeringSettings.from_vllm(config({"trimtab": {}})) == SteeringSettings()
    settings = SteeringSettings.from_vllm(config({"trimtab": {"gates": 7, "record": True}}))
    assert settings == SteeringSettings(gates=7, record=True)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (True, "holds the settings of steering, not True"),
        ({"gate": 3}, "has no setting gate; there are steerings, gates"),
        ({"gates": -1}, "between 0 and 64"),
        ({"gates": "4"}, "gates is a number of gated edits, not '4'"),
        ({"gates": True}, "gates is a number of gated edits, not True"),
        ({"table_dtype": "int8"}, "table_dtype is one of auto, float32, bfloat16, float16, not 'int8'"),
        ({"record": "yes"}, "record is true or false"),
        ({"limit": 0}, "limit is a whole number of at least 1, not 0"),
        ({"limit_mib": 1.5}, "limit_mib is a whole number of at least 1, not 1.5"),
        ({"steerings": 3}, "steerings is the path of a folder, not 3"),
    ],
)
def test_mistakes_are_named(given: Any, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        SteeringSettings.from_vllm(config({"trimtab": given}))


def test_the_version_counts_and_cannot_be_given() -> None:
    # It is in the hash under which vLLM keeps compiled graphs.
    vllm_config = config({"trimtab": {"version": "0.0.0"}, "other": 1})
    settings = SteeringSettings.from_vllm(vllm_config)
    assert settings is not None
    settings.stamp(vllm_config)
    assert vllm_config.additional_config == {"trimtab": settings.to_dict(), "other": 1}
    assert vllm_config.additional_config["trimtab"]["version"] == __version__


def test_dtype_of_the_tables() -> None:
    assert SteeringSettings().dtype(torch.bfloat16) == torch.bfloat16
    assert SteeringSettings(table_dtype="float32").dtype(torch.bfloat16) == torch.float32


def test_most_of_the_memory_is_left_to_others() -> None:
    assert cache_bytes_on_cpu((), {}, built_in=True) == 2**30
    assert cache_bytes_on_cpu(["max_num_seqs"], {"VLLM_CPU_KVCACHE_SPACE": ""}, built_in=False) == 4 * 2**30


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        (["kv_cache_memory_bytes"], {}),
        (["gpu_memory_utilization", "dtype"], {}),
        ([], {"VLLM_CPU_KVCACHE_SPACE": "9"}),
    ],
)
def test_what_a_user_says_stands(given: list[str], environment: dict[str, str]) -> None:
    assert cache_bytes_on_cpu(given, environment, built_in=True) is None
