"""Blocks of the prefix cache are shared by requests that compute the same in them, and by no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serve.canonical import Use, salt
from trimtab.vllm import plugin
from trimtab.vllm.phases import INTERNAL, SCOPED, block_keys

BLOCK = 4
USES: tuple[tuple[Use, bool], ...] = (
    ((), False),
    ((("sha256:a", 1.0),), False),
    ((("sha256:a", 0.5),), False),
    ((("sha256:b", 1.0),), True),
    ((("sha256:a", 1.0), ("sha256:b", 1.0)), True),
)
"""What may steer a request, and whether that tells a prompt from an answer."""


@dataclass(frozen=True)
class Sent:
    """A request, with its answer so far."""

    tokens: tuple[int, ...]
    prompt: int
    own_prompt: int | None
    use: Use
    scoped: bool
    client_salt: str | None

    @property
    def extra_args(self) -> dict[str, Any] | None:
        """What the frontend puts into it."""
        if not self.use:
            return None
        internal: dict[str, Any] = {"use": [list(part) for part in self.use]}
        if self.scoped:
            internal[SCOPED] = True
        if self.own_prompt is not None:
            internal["prompt_tokens"] = self.own_prompt
        return {INTERNAL: internal}

    @property
    def computed(self) -> list[tuple[int, bool]]:
        """What decides the content of the cache: each token, and whether it is steered as generated."""
        end = self.prompt if self.own_prompt is None else self.own_prompt
        return [(token, self.scoped and place >= end) for place, token in enumerate(self.tokens)]


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    """Requests that are often alike."""
    tokens = draw(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=BLOCK, max_size=4 * BLOCK))
    prompt = draw(st.integers(1, len(tokens)))
    use, scoped = draw(st.sampled_from(USES))
    own = draw(st.none() | st.integers(1, prompt)) if use else None
    return Sent(tuple(tokens), prompt, own, use, scoped, draw(st.sampled_from([None, None, "mine"])))


def test_only_blocks_with_generated_tokens_say_where_they_begin() -> None:
    params = SimpleNamespace(extra_args={INTERNAL: {"use": [["sha256:b", 1.0]], SCOPED: True}})
    request = SimpleNamespace(sampling_params=params, num_prompt_tokens=6)
    assert [block_keys(request, start, start + 4) for start in (0, 4, 8)] == [
        [],
        [("trimtab_generated", 2)],
        [("trimtab_generated", 0)],
    ]
    params.extra_args[INTERNAL]["prompt_tokens"] = 4
    assert [block_keys(request, start, start + 4) for start in (0, 4)] == [[], [("trimtab_generated", 0)]]


@pytest.mark.parametrize("extra", [None, {}, {INTERNAL: {"use": [["sha256:a", 1.0]]}}, {"other": 1}])
def test_nothing_to_say_where_all_tokens_are_steered_alike(extra: dict[str, Any] | None) -> None:
    request = SimpleNamespace(sampling_params=SimpleNamespace(extra_args=extra), num_prompt_tokens=2)
    assert block_keys(request, 0, 4) == []
    assert block_keys(SimpleNamespace(sampling_params=None, num_prompt_tokens=2), 0, 4) == []


@pytest.fixture(scope="module")
def hashes() -> Callable[[Sent], list[bytes]]:
    """The hashes that vLLM gives the blocks of a request."""
    if find_spec("vllm") is None:
        pytest.skip("needs vLLM")
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.request import Request

    from vllm import SamplingParams

    plugin.register()
    init_none_hash(sha256)
    hasher = get_request_block_hasher(BLOCK, sha256)

    def of(one: Sent) -> list[bytes]:
        request = Request(
            request_id="some",
            prompt_token_ids=list(one.tokens[: one.prompt]),
            sampling_params=SamplingParams(extra_args=one.extra_args),
            pooling_params=None,
            cache_salt=salt(one.client_salt, one.use),
            block_hasher=hasher,
        )
        request.append_output_token_ids(list(one.tokens[one.prompt :]))
        return list(request.block_hashes)

    return of


@given(st.data())
def test_random_pairs_of_requests(hashes: Callable[[Sent], list[bytes]], data: st.DataObject) -> None:
    one, other = data.draw(sent()), data.draw(sent())
    alike = (one.use, one.client_salt) == (other.use, other.client_salt)
    for number, (first, second) in enumerate(zip(hashes(one), hashes(other), strict=False)):
        end = (number + 1) * BLOCK
        same = one.computed[:end] == other.computed[:end]
        # Whether a block is shared must follow from what it holds, in both directions.
        assert (first == second) == (alike and same)
