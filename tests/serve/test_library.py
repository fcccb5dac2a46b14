"""The library holds only what can be served, says why it refuses the rest, and is never half changed."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trimtab.errors import SteeringError
from trimtab.serve.library import SteeringLibrary
from trimtab.steering import when
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

WIDTH, BLOCKS = 4, 3
MODEL = ModelIdentity("nano-instruct", None, "llama", BLOCKS, WIDTH, "plain")


def steering(
    name: str = "json", scale: float = 1.0, model: ModelIdentity = MODEL, gated: int = 1
) -> Steering:
    u = torch.arange(1.0, WIDTH + 1) * scale
    edits = [Edit.add(0, u), *(Edit(1, u, 1.0, u * number) for number in range(1, gated + 1))]
    return Steering(name, tuple(edits), Record(model))


def new_library(**changes: Any) -> SteeringLibrary:
    return SteeringLibrary(MODEL, **{"gates": 2, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two saved steerings, and what lies about in a folder besides."""
    folder = tmp_path / "steerings"
    for number, name in enumerate(["json", "no-commas"]):
        steering(name, 1.0 + number).save(folder / name)
    (folder / ".git").mkdir()
    (folder / "README.md").write_text("ours")
    return folder


def files(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "steering.json").read_bytes(), (folder / "steering.safetensors").read_bytes()


# --- names and digests -----------------------------------------------------------------------------------------------


def test_an_entry_tells_about_its_steering() -> None:
    given = steering(gated=2)
    entry = new_library().add("json", given)
    assert (entry.name, entry.digest, entry.steering) == ("json", given.digest(), given)
    assert (entry.gates_used, entry.bytes) == (2, 4 * WIDTH * 5)
    assert entry.gated == {1: 2}
    assert entry.largest_addition == 8.0


def test_names_digests_and_their_beginnings() -> None:
    library = new_library()
    entry, other = library.add("json", steering()), library.add("other", steering(scale=2.0))
    assert library.names() == ["json", "other"]
    assert library.entries() == [entry, other]
    for asked in ("json", entry.digest, entry.digest[: len("sha256:") + 12]):
        assert library.get(asked) is entry
    for asked in (entry.digest[: len("sha256:") + 11], "JSON", "", "json ", entry.digest.upper()):
        with pytest.raises(SteeringError, match="there is no steering"):
            library.get(asked)


def test_a_beginning_that_several_share(monkeypatch: pytest.MonkeyPatch) -> None:
    library = new_library()
    for number in range(2):
        one = steering(scale=1.0 + number)
        monkeypatch.setattr(
            Steering, "digest", lambda self, number=number: "sha256:" + "a" * 63 + str(number)
        )
        library.add(f"s{number}", one)
    with pytest.raises(
        SteeringError, match="digests of 2 steerings begin with sha256:aaaaaaaaaaaa; give more"
    ):
        library.get("sha256:" + "a" * 12)
    assert library.get("sha256:" + "a" * 63 + "1").name == "s1"


def test_a_name_gets_another_content() -> None:
    library = new_library()
    old, new = library.add("json", steering()), library.add("json", steering(scale=2.0))
    assert library.get("json") is new
    assert library.get(old.digest) is old
    with pytest.raises(SteeringError, match="there is no steering with the digest"):
        library.get(old.digest, named=True)
    assert library.get(new.digest, named=True) is new
    assert not library.drop(new.digest)
    assert library.drop(old.digest)
    assert not library.drop(old.digest)
    with pytest.raises(SteeringError, match="load it first"):
        library.get(old.digest)


def test_a_removed_name_keeps_its_digest_for_requests_under_way() -> None:
    library = new_library()
    entry = library.add("json", steering())
    library.add("same", steering("same"))
    assert library.remove("json") is entry
    assert library.get(entry.digest, named=True).name == "same"
    assert not library.drop(entry.digest)
    library.remove("same")
    assert library.get(entry.digest).digest == entry.digest
    assert library.drop(entry.digest)
    assert library.names() == []
    with pytest.raises(SteeringError, match="there is no steering 'json' here; none is loaded"):
        library.remove("json")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../json", "a/b", "a b", "a*2", "a+b", "a:b", "-x", "é", "a" * 129, "a\n"]
)
def test_names_that_could_be_something_else_are_refused(name: str, folder: Path) -> None:
    library = new_library()
    for add in (
        lambda: library.add(name, steering()),
        lambda: library.load(name, folder / "json"),
        lambda: library.upload(name, *files(folder / "json")),
        lambda: library.load_hub("someone/json", name=name),
    ):
        with pytest.raises(SteeringError, match="cannot be the name of a steering; use letters"):
            add()
    assert library.add("a" * 128, steering()).name == "a" * 128
    assert library.add("2.5_x-y", steering()).name == "2.5_x-y"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            steering(model=ModelIdentity("other", None, "llama", BLOCKS, WIDTH, "plain")),
            "is for other .* not for nano",
        ),
        (
            steering().when(when.Matches("rocket")),
            r"acts only if .*rocket.*decide in the client.*always\(\)",
        ),
        (steering().when(when.Rule(lambda prompt: True)), "acts only if"),
        (
            steering(gated=3),
            "has 3 gated edits in one block, and the tables take 2; start the server with gates=3",
        ),
        (
            Steering("psr", (Edit(1, torch.ones(WIDTH), 1.0, rectified=True),), Record(MODEL)),
            r"block 1 is rectified \(form psr\), which the serving tables have no place for",
        ),
        (steering(scale=1e5), "too large for the tables' float16; start the server with table_dtype=float32"),
    ],
)
def test_what_cannot_be_served_is_refused(given: Steering, message: str) -> None:
    library = new_library(dtype=torch.float16)
    with pytest.raises(SteeringError, match=message):
        library.add("json", given)
    assert library.names() == []
    library.add("json", given.always() if given.whens else steering())


def test_there_is_a_limit_to_their_number() -> None:
    library = new_library(limit=2)
    first = library.add("a", steering())
    library.add("b", steering(scale=2.0))
    for name, given in (("c", steering(scale=3.0)), ("c", steering()), ("a", steering(scale=3.0))):
        with pytest.raises(
            SteeringError,
            match=r"room for 2 steerings, and this would make 3; remove some first, or .* limit=3",
        ):
            library.add(name, given)
    assert library.get("a") is first
    library.remove("a")
    library.drop(first.digest)
    assert library.add("c", steering(scale=3.0)).name == "c"


def test_there_is_a_limit_to_their_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = new_library(limit_bytes=100)
    document, tensors = files(folder / "json")
    monkeypatch.setattr(
        Steering, "load", lambda *arguments: pytest.fail("was read before its size was known")
    )
    for add in (
        lambda: library.upload("json", document, tensors),
        lambda: library.load("json", folder / "json"),
        lambda: library.add("json", steering(gated=6)),
    ):
        with pytest.raises(
            SteeringError, match=r"MiB, and one steering may have 0.0 MiB; make it smaller, or .* limit_mib"
        ):
            add()


def test_there_is_a_limit_to_all_of_them_together() -> None:
    size = 4 * WIDTH * 3
    library = new_library(limit_bytes=size, limit_total_bytes=2 * size)
    first = library.add("a", steering())
    library.add("b", steering(scale=2.0))
    library.add("same", steering())  # one content, counted once
    with pytest.raises(SteeringError, match=r"room for 0\.0 MiB of steerings in all, .* remove some first"):
        library.add("c", steering(scale=3.0))
    library.remove("a")
    library.remove("same")
    with pytest.raises(SteeringError, match="in all"):  # on its way out, and still held
        library.add("c", steering(scale=3.0))
    library.drop(first.digest)
    assert library.add("c", steering(scale=3.0)).name == "c"


def test_one_of_the_largest_always_has_room() -> None:
    library = new_library(limit_bytes=10**6, limit_total_bytes=1)
    assert library.add("a", steering()).name == "a"
    assert new_library().limit_total_bytes == 2 * 2**30


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_of_steerings(folder: Path) -> None:
    library = new_library()
    assert [entry.name for entry in library.load_folder(folder)] == library.names() == ["json", "no-commas"]
    assert library.get("json").digest == steering().digest()
    assert library.load("again", folder / "json").digest == library.get("json").digest


def test_an_empty_folder_is_one(tmp_path: Path) -> None:
    assert new_library().load_folder(tmp_path) == []


def test_all_that_is_damaged_is_named_and_nothing_is_added(folder: Path) -> None:
    (folder / "empty").mkdir()
    tensors = folder / "json" / "steering.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01")
    steering().when(when.Matches("x")).save(folder / "sometimes")
    steering().save(folder / "bad name")
    library = new_library()
    with pytest.raises(
        SteeringError, match=r"4 of the 5 steerings in .* cannot be served; mend them"
    ) as caught:
        library.load_folder(folder)
    text = str(caught.value)
    for part in (
        "[bad name] ",
        "[empty] ",
        "lacks steering.json",
        "[json] ",
        "is not the file",
        "[sometimes] ",
        "acts only",
    ):
        assert part in text
    assert "no-commas" not in text
    assert library.names() == []


def test_a_folder_that_holds_too_many_adds_none(folder: Path) -> None:
    library = new_library(limit=1)
    with pytest.raises(SteeringError, match="room for 1"):
        library.load_folder(folder)
    assert library.names() == []


def test_folders_that_are_none(folder: Path) -> None:
    library = new_library()
    with pytest.raises(SteeringError, match=r"there is no folder .*nowhere"):
        library.load_folder(folder / "nowhere")
    with pytest.raises(SteeringError, match="is a steering itself; give the folder around it"):
        library.load_folder(folder / "json")
    with pytest.raises(SteeringError, match=r"there is no folder .*nowhere"):
        library.load("nowhere", folder / "nowhere")


# --- uploads ---------------------------------------------------------------------------------------------------------


def test_an_upload_is_what_was_saved(folder: Path) -> None:
    library = new_library()
    entry = library.upload("mine", *files(folder / "json"))
    assert entry.digest == steering().digest()
    assert library.get("mine") is entry


def changed(document: bytes, **values: Any) -> bytes:
    return json.dumps({**json.loads(document), **values}).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: (b"", t), "the upload/steering.json is not valid JSON"),
        (lambda d, t: (b"\x80\x04]", t), "the upload/steering.json is not valid JSON"),
        (lambda d, t: (d, b""), "the upload/steering.safetensors is damaged or cut off"),
        (lambda d, t: (d, t[:-1] + b"\x01"), "is not the file that steering.json was written with"),
        (lambda d, t: (changed(d, name="other"), t), "steering.json was changed after it was written"),
        (lambda d, t: (changed(d, format_version=99), t), "install a newer trimtab"),
        (lambda d, t: (d, t[:-4] + b"\x00\x00\xc0\x7f"), "holds values that are not finite"),
    ],
)
def test_a_damaged_upload_is_refused_and_leaves_nothing(
    change: Any, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    library = new_library()
    with pytest.raises(SteeringError, match=message) as caught:
        library.upload("mine", *change(*files(folder / "json")))
    assert "temporary" not in str(caught.value)
    assert library.names() == []
    assert list((tmp_path / "temporary").iterdir()) == []


# --- the Hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A Hub with one repository; `asked` is what it was asked for, `error` what it raises instead."""
    state = SimpleNamespace(asked=[], error=None, offline=False, size=100)

    def snapshot_download(repo: str, **options: Any) -> Any:
        from huggingface_hub import errors

        state.asked.append((repo, options))
        if state.error is not None:
            raise state.error
        if not options.pop("dry_run", False):
            return str(folder / "json")
        if state.offline:
            raise errors.DryRunError("offline")
        return [SimpleNamespace(file_size=state.size), SimpleNamespace(file_size=None)]

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return state


@pytest.mark.parametrize("offline", [False, True])
def test_a_steering_of_the_hub(hub: SimpleNamespace, offline: bool) -> None:
    hub.offline = offline
    library = new_library()
    entry = library.load_hub("someone/json-steering", "v1")
    assert (entry.name, entry.digest) == ("json-steering", steering().digest())
    for repo, options in hub.asked:
        assert repo == "someone/json-steering"
        assert options["revision"] == "v1"
        assert options["allow_patterns"] == ["steering.json", "steering.safetensors"]
    assert library.load_hub("someone/json-steering", name="json").name == "json"


def test_a_large_one_is_not_fetched(hub: SimpleNamespace) -> None:
    hub.size = 2**40
    with pytest.raises(
        SteeringError, match=r"'someone/json' has 1048576.0 MiB, and one steering may have 64.0 MiB"
    ):
        new_library().load_hub("someone/json")
    assert len(hub.asked) == 1


def test_a_repository_without_a_steering(hub: SimpleNamespace, folder: Path) -> None:
    shutil.rmtree(folder / "json")
    (folder / "json").mkdir()
    with pytest.raises(
        SteeringError, match=r"'someone/json' on the Hub is no steering: it lacks steering\.json and"
    ):
        new_library().load_hub("someone/json")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("RepositoryNotFoundError", "there is no 'someone/json' on the Hub"),
        ("GatedRepoError", "'someone/json' is gated: accept its terms"),
        ("RevisionNotFoundError", "'someone/json' has no revision 'v1' on the Hub"),
        (
            "LocalEntryNotFoundError",
            "'someone/json' at 'v1' cannot be fetched from the Hub: LocalEntryNotFoundError: said so",
        ),
        ("HfHubHTTPError", "'someone/json' at 'v1' cannot be fetched from the Hub: HfHubHTTPError: said so"),
        ("HFValidationError", "there is no 'someone/json' on the Hub"),
        (
            "OfflineModeIsEnabled",
            "'someone/json' at 'v1' cannot be fetched from the Hub: HF_HUB_OFFLINE is set; unset it",
        ),
    ],
)
def test_what_the_hub_says(hub: SimpleNamespace, kind: str, message: str) -> None:
    from huggingface_hub import errors

    kind_of_error = getattr(errors, kind)
    hub.error = kind_of_error.__new__(kind_of_error)  # their constructors want a response of the server
    hub.error.args = ("said so\nat length",)
    with pytest.raises(SteeringError) as caught:
        new_library().load_hub("someone/json", "v1")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_of_the_library_below(hub: SimpleNamespace) -> None:
    hub.error = RuntimeError("the proxy\nsaid no")
    with pytest.raises(
        SteeringError, match="'someone/json' cannot be fetched from the Hub: RuntimeError: the proxy said no"
    ):
        new_library().load_hub("someone/json")


@pytest.mark.parametrize("repo", ["\ud800/x", "a/b/c", "x" * 5000 + "/x", ""])
def test_a_repository_that_cannot_be_one_is_named_in_letters(repo: str) -> None:
    with pytest.raises(SteeringError) as caught:
        new_library().load_hub(repo, name="x")
    str(caught.value).encode()
    assert len(str(caught.value)) < 500


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_do_not_lose_each_others_changes() -> None:
    library = new_library()
    given = [steering(scale=1.0 + number) for number in range(8)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(30):
                entry = library.add(f"s{number}", given[(number + turn) % 8])
                assert library.get(f"s{number}").digest == entry.digest
                assert library.get(entry.digest).digest == entry.digest
                assert f"s{number}" in library.names()
                library.entries()
                if turn % 3 == 0:
                    library.remove(f"s{number}")
                    library.drop(entry.digest)
                    library.add(f"s{number}", given[number])
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert library.names() == [f"s{number}" for number in range(4)]
