"""Files of torch.save are read without running anything; what is not plain is refused by its name."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.formats.damage import FUZZED, damaged, path_tricks

from trimtab.errors import SteeringError
from trimtab.formats import torch_files

VECTOR = torch.linspace(-1, 1, 16)


def saved(folder: Path, value: Any, **options: Any) -> Path:
    torch.save(value, folder / "x.pt", **options)
    return folder / "x.pt"


def with_pickle(
    folder: Path, content: bytes, *, compression: int = zipfile.ZIP_STORED, **more: bytes
) -> Path:
    """A zip as of torch.save around a pickle."""
    with zipfile.ZipFile(folder / "x.pt", "w", compression) as archive:
        for name, data in {"data.pkl": content, **{k.replace("_", "/"): v for k, v in more.items()}}.items():
            archive.writestr(f"x/{name}", data)
    return folder / "x.pt"


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_is_saved_comes_back(protocol: int, tmp_path: Path) -> None:
    shared = torch.arange(40.0).reshape(4, 10)
    value = {
        "layers.1": {"vector": VECTOR, "half": VECTOR.half(), "brain": VECTOR.bfloat16(), "none": None},
        "numbers": [1, -2.5, 10**30, True, 300, 70000],
        "pair": (1, "text", ("a", "b", "c", "d")),
        "row": shared[2],
        "column": shared[:, 3],
        "parameter": torch.nn.Parameter(VECTOR),
        "ordered": collections.OrderedDict(a=VECTOR),
        "array": VECTOR.numpy(),
        "scalar": np.float32(2.5),
        7: torch.tensor(3.0, dtype=torch.float64),
    }
    found = torch_files.read(saved(tmp_path, value, pickle_protocol=protocol))
    assert list(found) == list(value)
    assert found["layers.1"]["none"] is None
    for name in ("vector", "half", "brain"):
        assert torch.equal(found["layers.1"][name], value["layers.1"][name])
        assert found["layers.1"][name].dtype == value["layers.1"][name].dtype
    assert found["numbers"] == value["numbers"]
    assert found["pair"] == value["pair"]
    for name in ("row", "column"):
        assert torch.equal(found[name], value[name])
    for one in (found["parameter"], found["ordered"]["a"], found["array"]):
        assert torch.equal(one, VECTOR)
    assert (float(found["scalar"]), float(found[7])) == (2.5, 3.0)


class Trap:
    def __reduce__(self) -> Any:
        return (eval, ("__import__('pathlib').Path('sprung').touch()",))


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SteeringError, match=r"it would run (__builtin__|builtins)\.eval, and nothing"):
        torch_files.read(saved(tmp_path, {"steering_vector": Trap()}))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.arange(4), "LongStorage; tensors of floats are wanted"),
        (np.arange(4), "not one of floats"),
        (np.ones(3, ">f4"), "big-endian"),
        (np.asfortranarray(np.ones((2, 3), np.float32)), "Fortran"),
        (torch.empty(0), "more numbers than it has"),
        ({(1, 2): 3}, "neither a text nor a number"),
        ({1, 2}, "would run|EMPTY_SET"),
        (Path("/etc"), "would run"),
        (torch.float32, "which is no value"),
    ],
)
def test_what_is_not_plain_is_named(value: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=words):
        torch_files.read(saved(tmp_path, value))


def test_the_old_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match=r"no file of torch\.save; if an old torch"):
        torch_files.read(saved(tmp_path, VECTOR, _use_new_zipfile_serialization=False))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="it is compressed"):
        torch_files.read(with_pickle(tmp_path, b"\0" * 10**7, compression=zipfile.ZIP_DEFLATED))


def test_lists_that_hold_each_other_are_refused(tmp_path: Path) -> None:
    value: Any = []
    for _ in range(12):
        value = [value] * 10
    with pytest.raises(SteeringError, match="too deep"):
        torch_files.read(with_pickle(tmp_path, pickle.dumps(value, protocol=2)))
    value = []
    value.append(value)
    with pytest.raises(SteeringError, match="too deep"):
        torch_files.read(with_pickle(tmp_path, pickle.dumps(value, protocol=2)))
    with pytest.raises(SteeringError, match=r"far too long|neither a text"):
        torch_files.read(with_pickle(tmp_path, b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s."))


def test_tensors_state_no_more_than_there_is(tmp_path: Path) -> None:
    path = saved(tmp_path, torch.ones(4).expand(1000, 4).T)
    with pytest.raises(SteeringError, match="another shape than it has numbers for"):
        torch_files.read(path)
    path = saved(tmp_path, [torch.ones(5000)[:4999]] * 1 + [torch.ones(5000)[1:]])
    assert len(torch_files.read(path)) == 2
    storage = torch.ones(5000)
    with pytest.raises(SteeringError, match="more numbers than the file"):
        torch_files.read(saved(tmp_path, [storage[n:] for n in range(20)]))


@FUZZED
@given(data=st.data())
def test_what_is_damaged_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    """Also with the damage in the pickle alone, where the zip's checksums do not find it."""
    buffer = io.BytesIO()
    torch.save({"layers.1": {"v": VECTOR, "n": 1.5, "a": VECTOR.numpy()}}, buffer)
    if data.draw(st.booleans()):
        path = tmp_path / "x.pt"
        path.write_bytes(data.draw(damaged(buffer.getvalue())))
    else:
        with zipfile.ZipFile(buffer) as archive:
            inside = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        path = with_pickle(tmp_path, data.draw(damaged(inside["data.pkl"])), data_0=inside["data/0"])
    size = path.stat().st_size
    try:
        value = torch_files.read(path)
    except SteeringError as error:
        refusal = str(error)
        assert len(refusal) < 600
    else:
        assert _bytes(value) <= size


def test_a_text_that_python_would_warn_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SteeringError, match="invalid escape"):
        torch_files.read(with_pickle(tmp_path, b"S'\\q'\n."))


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_bytes, items))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with path_tricks(tmp_path) as places:
        for place in places:
            assert not torch_files.is_torch_file(place)
            with pytest.raises(SteeringError, match="cannot read"):
                torch_files.read(place)
