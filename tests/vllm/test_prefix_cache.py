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
from tests.serve.fakes import IDENTITY, library

from trimtab.serve.composition import Composition
from trimtab.serve.request import parse_request
from trimtab.serve.resolving import resolve
from trimtab.vllm import plugin
from trimtab.vllm.prefix_cache import INTERNAL, SCOPED, block_keys, canonical, salt

BLOCK = 4
COMPOSITIONS: tuple[tuple[Composition, bool], ...] = (
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
    composition: Composition
    scoped: bool
    client_salt: str | None

    @property
    def extra_args(self) -> dict[str, Any] | None:
        """What the frontend puts into it."""
        if not self.composition:
            return None
        internal: dict[str, Any] = {"composition": [list(part) for part in self.composition]}
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
    composition, scoped = draw(st.sampled_from(COMPOSITIONS))
    own = draw(st.none() | st.integers(1, prompt)) if composition else None
    return Sent(tuple(tokens), prompt, own, composition, scoped, draw(st.sampled_from([None, None, "mine"])))


def test_only_blocks_with_generated_tokens_say_where_they_begin() -> None:
    params = SimpleNamespace(extra_args={INTERNAL: {"composition": [["sha256:b", 1.0]], SCOPED: True}})
    request = SimpleNamespace(sampling_params=params, num_prompt_tokens=6)
    assert [block_keys(request, start, start + 4) for start in (0, 4, 8)] == [
        [],
        [("trimtab_generated", 2)],
        [("trimtab_generated", 0)],
    ]
    params.extra_args[INTERNAL]["prompt_tokens"] = 4
    assert [block_keys(request, start, start + 4) for start in (0, 4)] == [[], [("trimtab_generated", 0)]]


@pytest.mark.parametrize("extra", [None, {}, {INTERNAL: {"composition": [["sha256:a", 1.0]]}}, {"other": 1}])
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
            cache_salt=salt(one.client_salt, one.composition),
            block_hasher=hasher,
        )
        request.append_output_token_ids(list(one.tokens[one.prompt :]))
        return list(request.block_hashes)

    return of


@given(st.data())
def test_random_pairs_of_requests(hashes: Callable[[Sent], list[bytes]], data: st.DataObject) -> None:
    one, other = data.draw(sent()), data.draw(sent())
    alike = (one.composition, one.client_salt) == (other.composition, other.client_salt)
    for number, (first, second) in enumerate(zip(hashes(one), hashes(other), strict=False)):
        end = (number + 1) * BLOCK
        same = one.computed[:end] == other.computed[:end]
        # Whether a block is shared must follow from what it holds, in both directions.
        assert (first == second) == (alike and same)


# --- salts -----------------------------------------------------------------------------------------------------------

digests = st.sampled_from(["sha256:a", "sha256:b", "edits:sha256:a"])
compositions = st.lists(
    st.tuples(digests, st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 0.2, 0.3])), max_size=4
)
salts = st.sampled_from([None, "", "mine", "trimtab:", "[]", '["mine","[]"]', "\ud800", "\\ud800"]) | st.text(
    max_size=3
)


def exactly(composition: list[tuple[str, float]]) -> dict[str, float]:
    from fractions import Fraction

    sums: dict[str, Fraction] = {}
    for digest, strength in composition:
        sums[digest] = sums.get(digest, Fraction(0)) + Fraction(strength)
    return {digest: float(total) for digest, total in sums.items() if float(total) != 0.0}


@given(salts, compositions, salts, compositions)
def test_salts_are_equal_only_for_equal_requests(
    one_salt: str | None, one: list[Any], other_salt: str | None, other: list[Any]
) -> None:
    same = (one_salt or None, exactly(one)) == (other_salt or None, exactly(other))
    assert (salt(one_salt, one) == salt(other_salt, other)) == same
    assert (canonical(one) == canonical(other)) == (exactly(one) == exactly(other))


@given(compositions, compositions, salts)
def test_no_salt_of_a_client_is_that_of_a_steering(
    composition: list[Any], another: list[Any], client: str | None
) -> None:
    steered = salt(client, composition)
    if not exactly(composition):
        return
    for chosen in (steered, canonical(composition), salt(None, another)):
        assert salt(chosen, []) != steered
        assert exactly(another) == exactly(composition) or salt(chosen, another) != steered


@given(compositions, st.randoms(use_true_random=False))
def test_the_order_never_shows(composition: list[Any], random: Any) -> None:
    shuffled = random.sample(composition, len(composition))
    assert canonical(shuffled) == canonical(composition)
    assert salt(None, shuffled) == salt(None, composition)


def test_salts_of_the_plain() -> None:
    assert salt(None, []) is None
    assert salt("", [("sha256:a", 0.0)]) is None
    assert salt("mine", []) not in (None, "mine")
    assert salt(None, [("sha256:a", 1)]) == salt("", [("sha256:a", 1.0)])
    assert (
        canonical([("b", 1), ("a", 0.5)]) == '[["a","0.5"],["b","1.0"]]'
    )  # it must never change: caches outlive us


@given(
    st.lists(st.sampled_from(range(3)), min_size=1, max_size=3),
    st.lists(st.sampled_from(range(3)), min_size=1, max_size=3),
)
def test_salts_cover_what_a_request_brings_along(one: list[int], other: list[int]) -> None:
    u = [0.5] * IDENTITY.width
    items = [
        {"block": 0, "u": u, "alpha": 1.0},
        {"block": 0, "u": u, "alpha": 1.0, "tokens": "generated"},
        {"block": 0, "u": [0.50001, *u[1:]], "alpha": 1.0},
    ]
    first, second = (
        resolve(parse_request({"edits": [items[number] for number in numbers]}), library())
        for numbers in (one, other)
    )
    assert (salt(None, first.composition) == salt(None, second.composition)) == (sorted(one) == sorted(other))
