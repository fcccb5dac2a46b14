"""Steerings: what they are made of, how they compose, and that a damaged or foreign one never loads."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from trimtab.errors import SteeringError, TrimtabError
from trimtab.steering import folder as steering_files
from trimtab.steering.documents import canonical_digest
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

WIDTH, BLOCKS = 6, 4
MODEL = ModelIdentity("maker/model", "a1b2c3d4", "LlamaForCausalLM", BLOCKS, WIDTH, "sha256:" + "0" * 64)
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values or [1.0, -2.0, 0.5, 0.0, 3.0, -0.25])


def some_steering(name: str = "json", **record: Any) -> Steering:
    edits = (
        Edit.add(1, vector(), 2.5, "generated"),
        Edit.set_projection(3, vector(), 4.2),
        Edit(2, vector(), 1.0, vector() * 0.1, "prompt"),
    )
    instructions = ({"name": "sentences", "params": {"at_most": 2}},)
    values: dict[str, Any] = {
        "instructions": instructions,
        "method": "mean_difference",
        "prompts": "sha256:ab",
    }
    return Steering(name, edits, Record(MODEL, **{**values, **record}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": 3}, "a steering's name is a text, not 3"),
        ({"edits": 3}, "the edits of the steering 'x' are a list of trimtab.Edit, not 3"),
        ({"edits": Edit.add(1, torch.ones(WIDTH))}, "list of trimtab.Edit, not Edit"),
        ({"edits": [None]}, r"list of trimtab.Edit, not \[None\]"),
        ({"record": MODEL}, "the record of the steering 'x' is a trimtab.Record, not ModelIdentity"),
    ],
)
def test_it_is_made_of_what_it_says(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SteeringError, match=words):
        Steering(**{"name": "x", "edits": (), "record": Record(MODEL), **values})


def content(steering: Steering) -> list[tuple[Any, ...]]:
    return [
        (edit.block, edit.alpha, edit.tokens, edit.u.tolist(), None if edit.p is None else edit.p.tolist())
        for edit in steering.edits
    ]


def rewrite(folder: Path, change: Any, *, sign: bool = True) -> None:
    """Change a saved document, and its checksum with it, as a tool that writes the format would."""
    path = folder / "steering.json"
    document = json.loads(path.read_text())
    result = change(document)
    document = document if result is None else result
    if sign and isinstance(document, dict) and isinstance(document.get("checksums"), dict):
        checksums = document.pop("checksums")
        tensors = (folder / "steering.safetensors").read_bytes()
        document["checksums"] = {
            **checksums,
            "document": canonical_digest(document),
            "tensors": "sha256:" + hashlib.sha256(tensors).hexdigest(),
        }
    path.write_text(json.dumps(document))


# --- saving and loading ----------------------------------------------------------------------------------------------

finite = st.floats(-1e6, 1e6, width=32)
vectors = st.lists(finite, min_size=WIDTH, max_size=WIDTH).map(torch.tensor)
edits = st.builds(
    Edit,
    block=st.integers(0, BLOCKS - 1),
    u=vectors,
    alpha=st.floats(-1e30, 1e30),
    p=st.none() | vectors,
    tokens=st.sampled_from(["all", "prompt", "generated"]),
)
plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
records = st.builds(
    Record,
    model=st.just(MODEL),
    instructions=st.lists(
        st.fixed_dictionaries(
            {"name": st.text(), "params": st.dictionaries(st.text(), plain_json, max_size=2)}
        ),
        max_size=2,
    ).map(tuple),
    method=st.text(),
    prompts=st.none() | st.text(),
    settings=st.dictionaries(st.text(), plain_json, max_size=3),
    measurements=st.dictionaries(st.text(), plain_json, max_size=3),
    version=st.text(),
    created=st.none() | st.text(),
)
# Lone surrogates cannot be written as UTF-8; the next test has them.
encodable = st.text(st.characters(exclude_categories=["Cs"]))


@EXAMPLES
@given(name=encodable, edits=st.lists(edits, max_size=4), record=records)
def test_a_saved_steering_comes_back_as_it_was(
    tmp_path_factory: Any, name: str, edits: list[Edit], record: Record
) -> None:
    steering = Steering(name, tuple(edits), record)
    folder = steering.save(tmp_path_factory.mktemp("s") / "deep" / "steering")
    loaded = Steering.load(folder, MODEL)
    assert (loaded.name, loaded.record, content(loaded)) == (
        steering.name,
        steering.record,
        content(steering),
    )
    assert loaded.digest() == steering.digest()


def test_two_saves_of_one_steering_are_the_same_bytes(tmp_path: Path) -> None:
    one, two = some_steering().save(tmp_path / "one"), some_steering().save(tmp_path / "two")
    for name in ("steering.json", "steering.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_the_files_are_the_documented_ones(tmp_path: Path) -> None:
    folder = some_steering().save(tmp_path / "s")
    assert sorted(path.name for path in folder.iterdir()) == ["steering.json", "steering.safetensors"]
    document = json.loads((folder / "steering.json").read_text())
    assert document["format"] == "trimtab-steering"
    assert document["format_version"] == 1
    assert document["model"]["blocks"] == BLOCKS
    tensors = load_file(folder / "steering.safetensors")
    assert set(tensors) == {"edits.0.u", "edits.1.u", "edits.1.p", "edits.2.u", "edits.2.p"}
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())


@EXAMPLES
@given(data=st.data(), which=st.sampled_from(["steering.json", "steering.safetensors"]))
def test_changed_bytes_never_load_as_something_else(
    tmp_path_factory: Any, data: st.DataObject, which: str
) -> None:
    steering = some_steering()
    folder = steering.save(tmp_path_factory.mktemp("s") / "steering")
    path = folder / which
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole))
    try:
        loaded = Steering.load(folder)
    except SteeringError:
        return
    # Only spacing, or the bytes that were there before.
    assert loaded.digest() == steering.digest()
    assert loaded.record == steering.record


@EXAMPLES
@given(
    share=st.floats(0, 1, exclude_max=True), which=st.sampled_from(["steering.json", "steering.safetensors"])
)
def test_a_cut_off_file_is_refused(tmp_path_factory: Any, share: float, which: str) -> None:
    folder = some_steering().save(tmp_path_factory.mktemp("s") / "steering")
    path = folder / which
    whole = path.read_bytes()
    # The last byte of the JSON is its line break, which is no loss.
    path.write_bytes(whole[: int(share * (len(whole) - 1))])
    with pytest.raises(SteeringError, match=which.replace(".", r"\.")):
        Steering.load(folder)


@EXAMPLES
@given(noise=st.binary(max_size=300))
def test_noise_is_refused(tmp_path_factory: Any, noise: bytes) -> None:
    folder = some_steering().save(tmp_path_factory.mktemp("s") / "steering")
    for name in ("steering.json", "steering.safetensors"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(noise)
        with pytest.raises(SteeringError):
            Steering.load(folder)
        (folder / name).write_bytes(kept)
    Steering.load(folder)


def set_in(*path: Any, to: Any) -> Any:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return change


def drop(key: str) -> Any:
    return lambda document: document.pop(key) and None


WRONG_DOCUMENTS = {
    "a list": (lambda document: [], "not a trimtab steering"),
    "no format": (drop("format"), "names no format"),
    "another format": (set_in("format", to="peft"), "format 'peft', expected 'trimtab-steering'"),
    "directions": (set_in("format", to="trimtab-directions"), "expected 'trimtab-steering'"),
    "newer": (
        set_in("format_version", to=4),
        "format version 4, this trimtab reads up to 3; install a newer",
    ),
    "version word": (set_in("format_version", to="1"), "whole number"),
    "version zero": (set_in("format_version", to=0), "whole number"),
    "version true": (set_in("format_version", to=True), "whole number"),
    "no model": (drop("model"), "lacks 'model'"),
    "model word": (set_in("model", to="gpt2"), "'model' must be an object"),
    "model without width": (lambda document: document["model"].pop("width") and None, "lacks 'width'"),
    "width zero": (set_in("model", "width", to=0), "at least one block and a width"),
    "width true": (set_in("model", "width", to=True), "'width' must be a whole number"),
    "no edits": (drop("edits"), "lacks 'edits'"),
    "edits object": (set_in("edits", to={}), "'edits' must be a list"),
    "edit number": (set_in("edits", 0, to=3), r"edit 0\) must be an object"),
    "block too high": (
        set_in("edits", 0, "block", to=4),
        "block 4 is out of range, the model has blocks 0 to 3",
    ),
    "block negative": (set_in("edits", 0, "block", to=-1), "block -1 is out of range"),
    "block fraction": (set_in("edits", 0, "block", to=1.0), "'block' must be a whole number"),
    "tokens": (set_in("edits", 0, "tokens", to="some"), "tokens must be one of all, prompt, generated"),
    "alpha word": (set_in("edits", 0, "alpha", to="2"), "alpha must be a finite number"),
    "alpha huge": (set_in("edits", 0, "alpha", to=10**400), "alpha must be a finite number"),
    "alpha missing": (
        lambda document: document["edits"][0].pop("alpha") and None,
        "alpha must be a finite number",
    ),
    "gated word": (set_in("edits", 0, "gated", to="no"), "'gated' must be"),
    "gate without tensor": (set_in("edits", 0, "gated", to=True), r"lacks the tensor edits\.0\.p"),
    "tensor without gate": (set_in("edits", 1, "gated", to=False), r"belong to no edit: edits\.1\.p"),
    "fewer edits": (lambda document: document["edits"].pop() and None, "belong to no edit"),
    "name number": (set_in("name", to=3), "'name' must be text"),
    "instruction": (set_in("instructions", to=["json"]), "every instruction needs"),
    "settings word": (set_in("settings", to="x"), "'settings' must be an object"),
    "parts number": (set_in("settings", to={"parts": 3}), r"\(settings\): 'parts' must be a list, not 3"),
    "part text": (set_in("settings", to={"parts": ["a"]}), "every one of 'parts' must be an object, not 'a'"),
    "scale word": (set_in("settings", to={"scale": "x"}), "scale must be a finite number"),
    "moved blocks list": (set_in("settings", to={"moved_blocks": [1]}), "'moved_blocks' must be an object"),
    "moved block word": (set_in("settings", to={"moved_blocks": {"a": 1}}), "whole numbers by whole numbers"),
    "another width": (set_in("model", "width", to=7), r"edits\.0\.u has shape \[6\], expected \[7\]"),
    "no checksums": (drop("checksums"), "not the file that steering.json was written with"),
    "checksums word": (set_in("checksums", to="no"), "not the file that"),
}


@pytest.mark.parametrize("case", WRONG_DOCUMENTS)
def test_a_wrong_document_is_refused_with_its_reason(tmp_path: Path, case: str) -> None:
    change, message = WRONG_DOCUMENTS[case]
    folder = some_steering().save(tmp_path / "s")
    rewrite(folder, change)
    with pytest.raises(SteeringError, match=message) as caught:
        Steering.load(folder)
    assert "\n" not in str(caught.value)


def test_an_edited_document_is_refused(tmp_path: Path) -> None:
    folder = some_steering().save(tmp_path / "s")
    rewrite(folder, set_in("edits", 0, "alpha", to=99.0), sign=False)
    with pytest.raises(SteeringError, match=r"steering\.json was changed after it was written"):
        Steering.load(folder)


def test_a_rewritten_document_with_its_checksum_loads(tmp_path: Path) -> None:
    folder = some_steering().save(tmp_path / "s")
    rewrite(folder, set_in("edits", 0, "alpha", to=99.0))
    assert Steering.load(folder).edits[0].alpha == 99.0


WRONG_TENSORS = {
    "shape": (
        lambda tensors: tensors.update({"edits.0.u": torch.zeros(WIDTH + 1)}),
        r"has shape \[7\], expected \[6\]",
    ),
    "matrix": (lambda tensors: tensors.update({"edits.0.u": torch.zeros(1, WIDTH)}), r"has shape \[1, 6\]"),
    "dtype": (
        lambda tensors: tensors.update({"edits.0.u": torch.zeros(WIDTH).half()}),
        "is float16, expected float32",
    ),
    "nan": (lambda tensors: tensors["edits.0.u"].fill_(math.nan), "not finite"),
    "infinite": (lambda tensors: tensors["edits.1.p"].fill_(math.inf), "not finite"),
    "missing": (lambda tensors: tensors.pop("edits.2.u"), r"lacks the tensor edits\.2\.u"),
    "extra": (lambda tensors: tensors.update({"w": torch.zeros(1)}), "belong to no edit: w"),
    "other values": (
        lambda tensors: tensors["edits.0.u"].add_(1),
        "not the file that steering.json was written with",
    ),
}


@pytest.mark.parametrize("case", WRONG_TENSORS)
def test_wrong_tensors_are_refused_with_their_reason(tmp_path: Path, case: str) -> None:
    change, message = WRONG_TENSORS[case]
    folder = some_steering().save(tmp_path / "s")
    path = folder / "steering.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.unlink()  # the tensors may still be mapped from the file
    save_file(tensors, path)
    with pytest.raises(SteeringError, match=message):
        Steering.load(folder)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="there is no folder"):
        Steering.load(tmp_path / "nowhere")
    folder = some_steering().save(tmp_path / "s")
    with pytest.raises(SteeringError, match=r"steering\.json is a file"):
        Steering.load(folder / "steering.json")
    (folder / "steering.safetensors").unlink()
    with pytest.raises(SteeringError, match=r"lacks steering\.safetensors"):
        Steering.load(folder)
    (folder / "steering.json").unlink()
    with pytest.raises(SteeringError, match=r"lacks steering\.json"):
        Steering.load(folder)


def test_a_number_too_large_for_a_float_is_refused(tmp_path: Path) -> None:
    path = some_steering(settings={"x": 1.5}).save(tmp_path / "s") / "steering.json"
    path.write_text(path.read_text().replace("1.5", "1e999"))
    with pytest.raises(SteeringError, match="1e999 is not a JSON number"):
        Steering.load(tmp_path / "s")


def test_places_that_cannot_be_are_named(tmp_path: Path) -> None:
    for place in ("x" * 300, "zero\0byte"):
        with pytest.raises(SteeringError, match=r"cannot read|there is no folder"):
            Steering.load(tmp_path / place)
        with pytest.raises(SteeringError, match="cannot write"):
            some_steering().save(tmp_path / place)


def test_keys_that_are_numbers_come_back_as_text(tmp_path: Path) -> None:
    steering = some_steering(settings={"strengths": {2: 1.0, 10: 2.0, "x": 3.0}})
    loaded = Steering.load(steering.save(tmp_path / "s"))
    assert loaded.record.settings == {"strengths": {"2": 1.0, "10": 2.0, "x": 3.0}}
    assert loaded.digest() == steering.digest()


def test_a_document_nested_too_deep_is_refused(tmp_path: Path) -> None:
    folder = some_steering().save(tmp_path / "s")
    (folder / "steering.json").write_text("[" * 200_000)
    with pytest.raises(SteeringError, match="not valid JSON"):
        Steering.load(folder)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_an_older_steering_is_replaced_and_its_neighbours_stay(tmp_path: Path) -> None:
    folder = some_steering().save(tmp_path / "s")
    (folder / "README.md").write_text("mine")
    (some_steering("other") * 2).save(folder)
    assert Steering.load(folder).name == "other"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "steering.json",
        "steering.safetensors",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [("notes.txt", "x"), ("steering.json", "{}"), ("steering.json", "[1]"), ("steering.json", "{")],
)
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SteeringError, match="holds something else"):
        some_steering().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == text


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(SteeringError, match="is a file"):
        some_steering().save(path)
    with pytest.raises(SteeringError, match="is a file"):
        some_steering().save(path / "below")
    assert path.read_text() == "mine"


@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_crash_leaves_the_old_steering_or_one_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fails_at: int
) -> None:
    folder = some_steering("old").save(tmp_path / "s")
    calls = 0

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError("disk full")
        return original(*arguments)

    place: Any = Path if step == "replace" else steering_files.os
    original = getattr(place, step)
    monkeypatch.setattr(place, step, failing)
    with pytest.raises(SteeringError, match="disk full"):
        (some_steering("new") * 3).save(folder)
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == ["steering.json", "steering.safetensors"]
    if step == "replace" and fails_at == 2:  # new tensors beside the old document
        with pytest.raises(SteeringError, match="not the file that"):
            Steering.load(folder)
        some_steering("newer").save(folder)  # and it can be mended by saving again
        assert Steering.load(folder).name == "newer"
    else:
        assert Steering.load(folder).name == "old"


def test_values_that_json_cannot_keep_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for value in (math.nan, object(), {1, 2}):
        with pytest.raises(SteeringError, match="JSON cannot keep"):
            some_steering(settings={"x": value}).save(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_text_that_utf8_cannot_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="JSON cannot keep"):
        some_steering("\ud800").save(tmp_path / "s")
    assert not (tmp_path / "s").exists()


# --- what it is for --------------------------------------------------------------------------------------------------


def other(**changes: Any) -> ModelIdentity:
    return ModelIdentity(**{**MODEL.to_dict(), **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"blocks": 5}, "the shapes differ"),
        ({"width": 8}, "the shapes differ"),
        ({"architecture": "MistralForCausalLM"}, "the architectures differ"),
        ({"id": "maker/tuned"}, "the names differ"),
        ({"revision": "ffff"}, "the revisions differ"),
        ({"chat_template": "plain"}, "the chat templates differ: sha256:000000000000 and plain"),
    ],
)
def test_another_model_is_refused_and_both_are_named(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    steering = some_steering()
    folder = steering.save(tmp_path / "s")
    with pytest.raises(SteeringError) as caught:
        Steering.load(folder, other(**changes))
    message = str(caught.value)
    assert reason in message
    assert str(MODEL) in message
    assert str(other(**changes)) in message
    if "shapes" in reason:
        with pytest.raises(SteeringError, match="shapes differ"):
            Steering.load(folder, other(**changes), allow_other_model=True)
    else:
        moved = Steering.load(folder, other(**changes), allow_other_model=True)
        moved.check_model(other(**changes))
        assert content(moved) == content(steering)
        assert moved.record.settings["moved_from"] == MODEL.to_dict()


def test_an_unknown_revision_is_no_reason_to_refuse() -> None:
    some_steering().check_model(other(revision=None))


def test_the_right_model_leaves_the_record_alone(tmp_path: Path) -> None:
    folder = some_steering().save(tmp_path / "s")
    assert Steering.load(folder, MODEL, allow_other_model=True).record == some_steering().record


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit.add(4, vector()), "edits block 4, but .* has blocks 0 to 3"),
        (Edit.add(0, torch.ones(WIDTH + 1)), "at width 7, but .* has width 6"),
    ],
)
def test_edits_that_do_not_fit_the_model_are_refused(edit: Edit, message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        Steering("x", (edit,), Record(MODEL))


# --- composing and scaling -------------------------------------------------------------------------------------------


def test_composition_is_the_union_and_remembers_its_parts() -> None:
    a, b = some_steering("a", settings={"block": 1}), some_steering("b", method="pca", prompts="sha256:cd")
    both = a + b
    assert both.name == "a+b"
    assert content(both) == content(a) + content(b)
    assert both.record.method == "composed"
    assert both.record.prompts is None
    assert both.record.instructions == a.record.instructions + b.record.instructions
    assert [part["name"] for part in (both + a).record.settings["parts"]] == ["a", "b", "a"]
    assert both.blocks == (1, 2, 3)


def test_composition_order_does_not_matter_for_what_it_holds() -> None:
    a, b, c = some_steering("a"), some_steering("b") * 2, -some_steering("c")
    assert sorted(map(str, content(a + b + c))) == sorted(map(str, content(c + (b + a))))


def test_a_composition_measured_nothing_yet() -> None:
    a = some_steering(measurements={"followed": 1.0})
    assert (a + a).record.measurements == {}
    assert (a * 2).record.measurements == {}
    assert (a * 1).record.measurements == {"followed": 1.0}


def test_steerings_of_different_models_do_not_compose() -> None:
    foreign = Steering("b", (), Record(other(id="maker/tuned")))
    with pytest.raises(SteeringError, match=r"maker/model.*maker/tuned.*only steerings of one model compose"):
        some_steering() + foreign


def test_only_steerings_add_and_only_numbers_scale() -> None:
    for wrong in (lambda s: s + 1, lambda s: s * "2", lambda s: s * True, lambda s: s * s):
        with pytest.raises(TypeError):
            wrong(some_steering())


@EXAMPLES
@given(first=st.floats(-100, 100, width=16), second=st.floats(-100, 100, width=16))
def test_scaling_multiplies(first: float, second: float) -> None:
    steering = some_steering()
    twice, once = (steering * first) * second, (first * second) * steering
    assert len(twice.edits) == len(once.edits) == (0 if first * second == 0 else 3)
    for one, two in zip(twice.edits, once.edits, strict=True):
        assert torch.allclose(one.u, two.u, rtol=1e-5)
        assert one.alpha == two.alpha


def test_scaling_is_recorded() -> None:
    assert (some_steering() * 2 * -0.5).record.settings["scale"] == -1.0
    assert content(-some_steering()) == content(some_steering() * -1)


def test_strength_zero_leaves_nothing_to_do() -> None:
    nothing = some_steering() * 0
    assert nothing.edits == ()
    assert nothing.blocks == ()
    assert (nothing + some_steering()).blocks == (1, 2, 3)


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf, 1e300, 10**400])
def test_strengths_out_of_this_world_are_refused(strength: float) -> None:
    with pytest.raises(SteeringError, match="finite"):
        some_steering() * strength


# --- describing ------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_what_it_does_not_of_when_or_its_name() -> None:
    steering = some_steering()
    assert steering.digest() == some_steering("renamed", created="2026-01-01", measurements={"n": 1}).digest()
    changed = [
        steering * 2,
        -steering,
        steering + steering,
        some_steering(settings={"block": 2}),
        some_steering(prompts=None),
        Steering("json", steering.edits[:2], steering.record),
        Steering("json", (*steering.edits[:2], Edit(2, vector(), 1.0, vector(), "prompt")), steering.record),
    ]
    digests = {item.digest() for item in [steering, *changed]}
    assert len(digests) == len(changed) + 1


def test_the_card_says_what_matters() -> None:
    record = {"settings": {"block": 3, "strength": 1.0}, "measurements": {"followed": 0.96789, "n": 32}}
    card = some_steering(**record, created="2026-01-02").describe()
    for fact in (
        "maker/model@a1b2c3d4 (LlamaForCausalLM, 4 blocks of width 6)",
        "sentences(at_most=2)",
        "mean_difference",
        "sets the projection to 4.2",
        "adds a vector of norm",
        "generated tokens only",
        "prompt tokens only",
        "followed 0.9679, n 32",
        "2026-01-02",
    ):
        assert fact in card
    assert max(map(len, card.splitlines())) < 160


def test_the_card_tells_the_kinds_of_edit_apart() -> None:
    kinds = {
        "removes the direction": Edit.ablate(0, vector()),
        "moves the projection 0.5 of the way to 4.2": Edit.set_projection(0, vector(), 4.2).scaled(0.5),
        "changes nothing": Edit.add(0, vector(), 0.0),
        "adds (alpha + p.h) u": Edit(0, vector(), 1.0, vector() * 2),
        "adds max(0, alpha + p.h) u": Edit(0, vector(), 1.0, vector() * 2, rectified=True),
    }
    for words, edit in kinds.items():
        assert words in Steering("x", (edit,), Record(MODEL)).describe()
    assert "none: it changes nothing" in Steering("x", (), Record(MODEL)).describe()
    assert (
        "plain question/answer format" in Steering("x", (), Record(other(chat_template="plain"))).describe()
    )


def test_errors_are_one_line() -> None:
    assert str(SteeringError("one\n  two\r\n\tthree ")) == "one two three"
    assert issubclass(SteeringError, TrimtabError)
