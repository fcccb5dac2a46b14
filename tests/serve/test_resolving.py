"""What a request may say, what each mistake is told, and what a request comes to."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import SteeringError
from trimtab.serve import request as reading
from trimtab.serve.composition import composed
from trimtab.serve.library import SteeringLibrary
from trimtab.serve.request import SteeringRequest, parse_request
from trimtab.serve.resolving import edits_of, resolve, split_model_name
from trimtab.serve.rows import row_of
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

WIDTH, BLOCKS = 4, 3
MODEL = ModelIdentity("nano-instruct", None, "llama", BLOCKS, WIDTH, "plain")
ONE = [1.0, 2.0, 3.0, 4.0]
GATE = [0.5, 0.0, 0.0, -1.0]


def steering(name: str, *blocks: int) -> Steering:
    """Two gated edits in each block, different by name."""
    random = torch.Generator().manual_seed(sum(name.encode()))
    edits = [
        Edit(block, torch.randn(WIDTH, generator=random), 1.0, torch.randn(WIDTH, generator=random))
        for block in (*blocks, *blocks)
    ]
    return Steering(name, tuple(edits), Record(MODEL))


@pytest.fixture(scope="module")
def library() -> SteeringLibrary:
    library = SteeringLibrary(MODEL, gates=4)
    for name, blocks in [("json", (0, 1)), ("lowercase", (1, 2)), ("no-commas", (1,)), ("2.5", (2,))]:
        library.add(name, steering(name, *blocks))
    return library


def asked(value: Any) -> SteeringRequest:
    return parse_request(value)


# --- syntax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("json", [("json", 1.0)]),
        ("json*0.8+lowercase", [("json", 0.8), ("lowercase", 1.0)]),
        (" json * .5 +\tno-commas*-2 ", [("json", 0.5), ("no-commas", -2.0)]),
        ("json*1e-1+json*+1.E+1+2.5*2.5", [("json", 0.1), ("json", 10.0), ("2.5", 2.5)]),
        ("sha256:0123456789ab*0+json", [("sha256:0123456789ab", 0.0), ("json", 1.0)]),
    ],
)
def test_expressions(text: str, parts: list[tuple[str, float]]) -> None:
    assert asked(text) == SteeringRequest(tuple(parts))


def test_objects_and_their_text() -> None:
    value = {
        "steerings": [{"name": "json", "strength": 2}, {"digest": "sha256:0123456789ab", "strength": -0.5}],
        "edits": [
            {"block": 1, "u": ONE, "alpha": 2},
            {"block": 2, "u": [1, 2, 3, 4], "p": GATE, "tokens": "generated", "alpha": None},
        ],
    }
    for given_as in (value, json.dumps(value), " \n" + json.dumps(value, indent=1)):
        result = asked(given_as)
        assert result.parts == (("json", 2.0), ("sha256:0123456789ab", -0.5))
        first, second = result.edits
        assert (first.block, first.u.tolist(), first.alpha, first.p, first.tokens) == (
            1,
            ONE,
            2.0,
            None,
            "all",
        )
        assert (second.alpha, second.tokens) == (0.0, "generated")
        assert second.p is not None
        assert second.p.tolist() == GATE
    assert asked({"steerings": [], "edits": []}) == SteeringRequest()


def test_vectors_as_base64() -> None:
    exact = torch.randn(WIDTH)
    text = base64.b64encode(exact.numpy().astype("<f4").tobytes()).decode()
    (edit,) = asked({"edits": [{"block": 0, "u": text, "p": text}]}).edits
    assert torch.equal(edit.u, exact)
    assert edit.p is not None
    assert torch.equal(edit.p, exact)


def edit_with(**values: Any) -> dict[str, Any]:
    return {"edits": [{"block": 0, "u": ONE, "alpha": 1.0, **values}]}


MISTAKES = [
    ("", "is empty; leave it out"),
    ("  ", "is empty; leave it out"),
    ("json+", "cannot be read at its end: a name"),
    ("+json", r"cannot be read from '\+json' on: a name or a digest was expected"),
    ("json**2", r"cannot be read from 'json\*\*2' on"),
    ("json lowercase", "cannot be read"),
    ("json+lower case", "from 'lower case' on"),
    ("json*much", "cannot be read"),
    ("json*nan", "cannot be read"),
    ("json*1e999", "strength of 'json' must be a finite number, not inf"),
    ("json*2e6", r"strength of 'json' is 2e\+06; it must be between -1e\+06 and 1e\+06"),
    ("../json", "cannot be read"),
    ("json\x00", "cannot be read"),
    ("+".join(["json"] * 33), "may have 32 steerings, and this one has more"),
    ("a" * 9000, "has 9000 characters, and 8192 is the most"),
    ("{", "begins like JSON and is none"),
    ("{" * 100_000, "begins like JSON and is none"),
    ("{}", "give it 'steerings' or 'edits'"),
    ({}, "give it 'steerings' or 'edits'"),
    (5, "is text or an object, not 5"),
    (True, "not True"),
    (10**5000, r"not \.\.\."),
    (["json"], r"not list \['json'\]"),
    ({"steering": []}, "has no entry 'steering'; it may have steerings, edits"),
    ({"steerings": "json"}, "'steerings' of a steering must be a list, not 'json'"),
    ({"steerings": {"name": "json"}}, "must be a list"),
    ({"steerings": ["json"]}, "must be an object with a name or a digest, not 'json'"),
    ({"steerings": [{"name": "json"}] * 33}, "may have 32 steerings"),
    ({"steerings": [{}]}, "either a name or a digest"),
    ({"steerings": [{"name": "json", "digest": "sha256:0123456789ab"}]}, "either a name or a digest"),
    ({"steerings": [{"name": 3}]}, "either a name or a digest"),
    ({"steerings": [{"digest": "json"}]}, "a digest begins with sha256:, not 'json'"),
    (
        {"steerings": [{"name": "json", "scale": 2}]},
        "has no entry 'scale'; it may have name, digest, strength",
    ),
    ({"steerings": [{"name": "json", "strength": "2"}]}, "strength of 'json' must be a number, not '2'"),
    ({"steerings": [{"name": "json", "strength": True}]}, "must be a number, not True"),
    ({"steerings": [{"name": "json", "strength": None}]}, "must be a number, not None"),
    ({"steerings": [{"name": "json", "strength": float("nan")}]}, "must be a finite number, not nan"),
    ('{"steerings": [{"name": "json", "strength": -Infinity}]}', "must be a finite number, not -inf"),
    ({"steerings": [{"name": "json", "strength": 10**400}]}, "must be a finite number"),
    ({"edits": 1}, "'edits' of a steering must be a list, not 1"),
    ({"edits": [1]}, "edit 0 must be an object, not 1"),
    ({"edits": [{"block": 0, "u": ONE, "alpha": 1}] * 257}, "may have 256 edits"),
    ({"edits": [{"u": ONE}]}, "edit 0 lacks 'block'"),
    ({"edits": [{"block": 0}]}, "edit 0 lacks 'u'"),
    ({"edits": [{"block": 0, "u": ONE}]}, "neither alpha nor p and would change nothing; give alpha=1"),
    (edit_with(strength=2), "edit 0 has no entry 'strength'"),
    (edit_with(block=-1), "edit 0: an edit's block is a number from 0 on, not -1"),
    (edit_with(block=True), "not True"),
    (edit_with(block="1"), "not '1'"),
    (
        edit_with(tokens="some"),
        "edit 0: an edit's tokens are one of all, prompt, generated, answer, not 'some'",
    ),
    (edit_with(tokens=["all"]), "tokens are one of"),
    (edit_with(alpha="1"), "alpha of edit 0 must be a number"),
    (edit_with(alpha=float("inf")), "alpha of edit 0 must be a finite number"),
    (edit_with(alpha=1e300), "edit 0: alpha of an edit of block 0 is 1e"),
    (edit_with(u=[]), "edit 0: u of an edit of block 0 must be a vector"),
    (edit_with(u=[1, 2, 3, float("nan")]), "u of an edit of block 0 holds values that are not finite"),
    (edit_with(u=[1, 2, 3, 1e39]), "holds values that are not finite"),
    (edit_with(u=[1, 2, 3, 10**400]), "holds values that are not finite"),
    (edit_with(u=[ONE]), r"u of edit 0 must be a list of numbers or the base64 .* not list \[\[1.0"),
    (edit_with(u=["1"]), "must be a list of numbers"),
    (edit_with(u=[True, 1.0]), "must be a list of numbers"),
    (edit_with(u=3), "must be a list of numbers"),
    (edit_with(p=[1.0]), "edit 0: an edit of block 0 has u of width 4 but p of width 1"),
    (edit_with(p={}), "p of edit 0 must be a list of numbers"),
    (edit_with(u="!!!!"), "u of edit 0 is text and not base64"),
    (edit_with(u="ünïcode"), "u of edit 0 is text and not base64"),
    (edit_with(u="AAAA"), "u of edit 0 has 3 bytes as base64; float32 values have 4 each"),
    (edit_with(u=base64.b64encode(b"\x00\x00\xc0\x7f" * 4).decode()), "not finite"),
    (
        edit_with(u=[0.0] * (reading.MOST_VALUES + 1)),
        "may have 2097152 numbers in all, and u of edit 0 goes beyond",
    ),
]


@pytest.mark.parametrize(("value", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_each_mistake_is_told_in_a_sentence(value: Any, message: str) -> None:
    with pytest.raises(SteeringError, match=message) as caught:
        parse_request(value)
    text = str(caught.value)
    assert len(text) < 500
    text.encode()  # what the client sent is quoted, and an answer must be able to carry it


def test_the_values_of_all_edits_count_together() -> None:
    half = base64.b64encode(bytes(4 * (reading.MOST_VALUES // 2))).decode()
    assert len(asked({"edits": [{"block": 0, "u": half, "alpha": 1.0}] * 2}).edits) == 2
    with pytest.raises(SteeringError, match="numbers in all, and p of edit 1 goes beyond"):
        parse_request({"edits": [{"block": 0, "u": half, "alpha": 1}, {"block": 0, "u": half, "p": half}]})


@given(st.text() | st.text('json*+.0e5- \t{}[]:,"', max_size=40))
def test_no_text_does_more_than_ask_or_be_refused(text: str) -> None:
    try:
        parse_request(text)
    except SteeringError as error:
        str(error).encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["steerings", "edits", "name", "digest", "strength", "block", "u", "p", "alpha", "tokens"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_object_does_more_than_ask_or_be_refused(value: Any) -> None:
    try:
        parse_request(value)
    except SteeringError as error:
        str(error).encode()


# --- what is there ---------------------------------------------------------------------------------------------------


def test_names_digests_and_their_beginnings_are_one(library: SteeringLibrary) -> None:
    digest = library.get("json").digest
    expected = resolve(asked("json*0.5+lowercase"), library).composition
    assert expected == tuple(sorted([(digest, 0.5), (library.get("lowercase").digest, 1.0)]))
    for text in (
        f"lowercase+{digest}*0.5",
        f"{digest[:19]}*.25 + lowercase + json*0.25",
        "json*1+lowercase+json*-.5",
    ):
        assert resolve(asked(text), library).composition == expected
    assert resolve(asked("json*0+lowercase*0"), library).composition == ()


def test_edits_come_along_in_an_order_of_their_own(library: SteeringLibrary) -> None:
    items = [
        {"block": 0, "u": ONE, "alpha": 1.0},
        {"block": 2, "u": GATE, "p": ONE},
        {"block": 2, "u": ONE, "alpha": 3},
    ]
    one = resolve(asked({"edits": items, "steerings": [{"name": "json"}]}), library)
    other = resolve(asked({"edits": items[::-1], "steerings": [{"name": "json", "strength": 1}]}), library)
    assert one.composition == other.composition
    ((digest, edits),) = one.inline.items()
    assert {part for part, _ in one.composition} == {digest, library.get("json").digest}
    assert [edit.content() for edit in edits] == [edit.content() for edit in other.inline[digest]]
    assert sorted(edit.block for edit in edits) == [0, 2, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("jsno", "there is no steering 'jsno' here; did you mean 'json'?"),
        ("quite other", "cannot be read"),
        ("xyz", "there is no steering 'xyz' here; there are 2.5, json, lowercase, no-commas"),
        (
            "sha256:" + "0" * 12,
            "there is no steering with the digest sha256:000000000000 here; load it first",
        ),
        ("sha256:0123", "there is no steering 'sha256:0123' here"),
        ({"steerings": [{"name": "\ud800"}]}, r"there is no steering '\ud800' here"),
        (
            edit_with(block=3),
            "there is no block 3; nano-instruct (llama, 3 blocks of width 4) has blocks 0 to 2",
        ),
        (
            edit_with(u=[1.0]),
            "an edit of block 0 has width 1; nano-instruct (llama, 3 blocks of width 4) has width 4",
        ),
        ("json+lowercase+no-commas", "has 6 gated edits in one block, and the tables take 4"),
        (
            {"edits": [{"block": 1, "u": ONE, "p": [float(n), 0, 0, 1]} for n in range(5)]},
            "has 5 gated edits in one block, and the tables take 4; ask for fewer at once, or start the server with",
        ),
    ],
)
def test_what_is_not_there_or_does_not_fit(library: SteeringLibrary, value: Any, message: str) -> None:
    with pytest.raises(SteeringError, match=re.escape(message)) as caught:
        resolve(asked(value), library)
    str(caught.value).encode()


def test_the_edits_of_a_request_are_as_strong_as_it_asks(library: SteeringLibrary) -> None:
    held = {entry.digest: entry.steering.edits for entry in library.entries()}
    name = library.names()[0]
    own = {"block": 0, "u": ONE, "alpha": 2.0}
    request = asked({"steerings": [{"name": name, "strength": 0.5}], "edits": [own]})
    edits = edits_of(resolve(request, library), held)
    steered = library.get(name).steering
    expected = row_of([(steered.edits, 0.5), (request.edits, 1.0)])
    found = row_of([(edits, 1.0)])
    assert len(edits) == len(steered.edits) + 1
    for block in range(BLOCKS):
        if block in expected.added:
            assert torch.allclose(found.added[block], expected.added[block])
        if block in expected.gates:
            mine, theirs = found.gates[block], expected.gates[block]
            # Each is sum of strength u p^T, whichever factor carries the strength.
            whole = [torch.einsum("k,kd,ke->de", one.strength[0], one.u, one.p) for one in (mine, theirs)]
            assert torch.allclose(*whole)


def test_new_requests_can_be_held_to_what_has_a_name() -> None:
    library = SteeringLibrary(MODEL, gates=4)
    old = library.add("json", steering("json", 0))
    library.add("json", steering("lowercase", 0))
    asked_for = asked(old.digest)
    assert resolve(asked_for, library).composition == ((old.digest, 1.0),)
    with pytest.raises(SteeringError, match="there is no steering with the digest"):
        resolve(asked_for, library, named=True)


def test_gated_edits_that_parts_share_count_once(library: SteeringLibrary) -> None:
    shared = steering("json", 0, 1).edits
    text = base64.b64encode
    items = [
        {
            "block": edit.block,
            "u": text(edit.u.numpy().tobytes()).decode(),
            "p": text(edit.p.numpy().tobytes()).decode(),
        }
        for edit in shared
        if edit.p is not None
    ]
    value = {"edits": items, "steerings": [{"name": "json"}, {"name": "lowercase"}]}
    result = resolve(asked(value), library)
    parts = [
        (result.inline[digest] if digest in result.inline else library.get(digest).steering.edits, strength)
        for digest, strength in result.composition
    ]
    assert row_of(parts).widest == 4


def test_what_the_tables_cannot_hold_is_refused() -> None:
    library = SteeringLibrary(MODEL, gates=4, dtype=torch.float16)
    library.add("big", Steering("big", (Edit.add(0, torch.tensor(ONE), 10_000.0),), Record(MODEL)))
    assert resolve(asked("big"), library).composition
    for value in (
        "big*2",
        "big+big*0.9",
        {"steerings": [{"name": "big"}], "edits": [{"block": 0, "u": ONE, "alpha": 10_000}]},
        {"edits": [{"block": 0, "u": [1e5] * 4, "p": ONE}]},
    ):
        with pytest.raises(SteeringError, match="too large: what is added leaves the tables' float16"):
            resolve(asked(value), library)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nano", ("nano", None)),
        ("nano:json+lowercase", ("nano", "json+lowercase")),
        ("nano:json*0.5", ("nano", "json*0.5")),
        ("nano:sha256:0123456789ab", ("nano", "sha256:0123456789ab")),
        ("nano:", ("nano", "")),
        ("me/model:v1", ("me/model:v1", None)),
        ("me/model:v1:json", ("me/model:v1", "json")),
        ("me/model:json", ("me/model", "json")),
        ("other:json", ("other:json", None)),
        ("nanojson", ("nanojson", None)),
    ],
)
def test_a_steering_in_the_model_name(name: str, expected: tuple[str, str | None]) -> None:
    assert split_model_name(name, ["nano", "me/model", "me/model:v1", "me"]) == expected


# --- compositions ----------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sha256:a", "sha256:b"]), st.sampled_from([0.0, 1.0, -1.0, 0.1, 0.2, 0.3])
        ),
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_parts_never_shows(parts: list[Any], random: Any) -> None:
    shuffled = composed(random.sample(parts, len(parts)))
    assert shuffled == composed(parts) == composed(shuffled)


@pytest.mark.parametrize(
    "strengths", [[float("nan")], [float("inf")], [float("inf"), float("-inf")], [1.7e308] * 2]
)
def test_strengths_that_are_no_numbers_have_no_form(strengths: list[float]) -> None:
    with pytest.raises(SteeringError, match="a strength must be a finite number"):
        composed([("a", strength) for strength in strengths])
