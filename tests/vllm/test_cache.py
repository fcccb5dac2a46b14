from __future__ import annotations

import pytest

from trimtab.vllm.cache import bytes_on_cpu


def test_most_of_the_memory_is_left_to_others() -> None:
    assert bytes_on_cpu((), {}, built_in=True) == 2**30
    assert bytes_on_cpu(["max_num_seqs"], {"VLLM_CPU_KVCACHE_SPACE": ""}, built_in=False) == 4 * 2**30


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        (["kv_cache_memory_bytes"], {}),
        (["gpu_memory_utilization", "dtype"], {}),
        ([], {"VLLM_CPU_KVCACHE_SPACE": "9"}),
    ],
)
def test_what_a_user_says_stands(given: list[str], environment: dict[str, str]) -> None:
    assert bytes_on_cpu(given, environment, built_in=True) is None
