"""Steerings go to other libraries' files and come from them, by the commands a user has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab.engines.base import Engine
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

Run = Callable[..., Any]


@pytest.fixture
def added(engine: Engine, tmp_path: Path) -> Path:
    """A steering that only adds, strongly enough to be seen."""
    direction = torch.linspace(-1, 1, engine.identity.width)
    edits = (Edit.add(1, direction, 40.0), Edit.add(2, direction.flip(0), 3.0))
    return Steering("shout", edits, Record(engine.identity)).save(tmp_path / "added")


def test_there_and_back_steers_alike(run: Run, model_folder: Path, added: Path, tmp_path: Path) -> None:
    file, back = tmp_path / "v.gguf", tmp_path / "back"
    sent = run("export", added, "--format", "gguf", "--out", file, "--json", "-")
    assert sent.exit_code == 0, sent.output
    assert json.loads(sent.stdout)["use"] == f"llama-cli -m MODEL.gguf --control-vector {file}"
    command = (
        "import",
        file,
        "--model",
        model_folder,
        "--out",
        back,
        "--instruction",
        "uppercase",
        "--name",
        "loud",
    )
    result = run(*command, "--json", "-")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["format"], document["name"], document["method"]) == ("gguf", "loud", "imported")
    assert document["instructions"] == [{"name": "uppercase", "params": {}}]
    assert "after the final norm" in document["notes"][0]
    assert "after the final norm" in result.stderr
    asked = ("what is the river ?", "-m", model_folder, "--max-new-tokens", 6)
    plain, *steered = (
        run("generate", *asked, *("-s", place) * bool(place)).stdout for place in ("", added, back)
    )
    assert steered[0] == steered[1] != plain


def test_strength_and_blocks_are_chosen_on_the_way(
    run: Run, model_folder: Path, added: Path, tmp_path: Path
) -> None:
    file, back = tmp_path / "v.gguf", tmp_path / "back"
    assert run("export", added, "--format", "gguf", "-o", file, "--strength", -0.5).exit_code == 0
    options = ("--blocks", "1", "--strength", 2, "--format", "gguf", "--option", "layer_offset=0")
    result = run("import", file, "-m", model_folder, "-o", back, *options)
    assert result.exit_code == 0, result.output
    first = Steering.load(added).edits[0]
    (edit,) = Steering.load(back).edits
    assert torch.allclose(edit.alpha * edit.u, -first.alpha * first.u)


def test_the_list_names_each_format_with_its_options(run: Run) -> None:
    for command in (("import", "x"), ("export", "x")):
        result = run(*command, "--format", "list")
        assert result.exit_code == 0
        assert "gguf" in result.stdout
        assert "import --option layer_offset=0" in result.stdout
        assert "export --option reader=llama.cpp" in result.stdout


def test_a_pickled_table_takes_a_word_of_trust_before_anything_is_loaded(
    run: Run, model_folder: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "x.h5", tmp_path / "out"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    result = run("import", path, "--model", tmp_path / "no model", "--out", out)
    assert result.exit_code == 2
    assert "--allow-pickle" in result.stderr
    assert "Traceback" not in result.stderr
    pytest.importorskip("h5py", reason="an environment made before h5py was among the test extra")
    import numpy as np
    from tests.formats.test_llm_steer_instruct import row, table

    width = int(json.loads((model_folder / "config.json").read_text())["hidden_size"])
    table(path, row(instr_dir=np.full(width, width**-0.5, dtype="f4")), row("a:b", -1))
    result = run("import", path, "--model", model_folder, "--out", out, "--allow-pickle")
    assert result.exit_code == 0, result.output
    assert "sets the projection to 4" in result.stdout
    assert Steering.load(out).blocks == (1,)


def test_what_cannot_be_said_is_one_line(run: Run, steering_folder: Path, tmp_path: Path) -> None:
    result = run("export", steering_folder, "--format", "gguf", "--out", tmp_path / "v.gguf")
    assert result.exit_code == 2
    assert "sets the projection to 3" in result.stderr
    assert not (tmp_path / "v.gguf").exists()


def test_the_nearest_is_written_with_what_it_loses(
    run: Run, model_folder: Path, steering_folder: Path, tmp_path: Path
) -> None:
    queries = tmp_path / "queries.txt"
    words = "river city name one two words it me what where who tell".split()
    queries.write_text("\n".join(f"what is the {word} of it ?" for word in words))
    sizes = ("--pairs", 2, "--validation", 2, "--max-new-tokens", 4, "--queries", queries)
    where = ("--format", "gguf", "--out", tmp_path / "v.gguf", "-m", model_folder)
    result = run("export", steering_folder, *where, "--approximate", *sizes, "--json", tmp_path / "told.json")
    assert result.exit_code == 0, result.output
    assert "sets the projection to 3" in result.stderr
    assert "block 2: of what was added, an added vector loses" in result.stdout
    shares = re.search(
        r"follows ([\d.]+) of \d+ queries as it was, ([\d.]+) as it was written", result.stdout
    )
    assert shares is not None, result.stdout
    told = json.loads((tmp_path / "told.json").read_text())["approximated"]
    assert told["as"] == "added vectors"
    assert 0 < told["lost"]["2"] < 1
    assert [float(one) for one in shares.groups()] == [told["followed"], told["followed_as_written"]]
    assert (tmp_path / "v.gguf").exists()
    exact = ("--format", "pyreft", "--out", tmp_path / "exact", "--approximate")
    result = run("export", steering_folder, *exact, "--json", tmp_path / "told.json")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "told.json").read_text())["approximated"] is None


def test_a_condition_is_left_out_without_a_model(run: Run, steering_folder: Path, tmp_path: Path) -> None:
    assert run("when", steering_folder, "--matching", "river").exit_code == 0
    refused = run("export", steering_folder, "--format", "pyreft", "--out", tmp_path / "reft")
    assert refused.exit_code == 2
    assert "--approximate writes" in refused.stderr
    result = run("export", steering_folder, "--format", "pyreft", "--out", tmp_path / "reft", "--approximate")
    assert result.exit_code == 0, result.output
    assert "written for all tokens of all prompts" in result.stdout
    assert "acts on every prompt, and the edit of block 1 only if" in result.stderr


def test_a_condition_becomes_one_of_cast_with_what_it_loses(
    run: Run, engine: Engine, model_folder: Path, tmp_path: Path
) -> None:
    """And comes back by the options that the import takes."""
    edit = Edit.add(1, torch.linspace(-1, 1, engine.identity.width), 40.0)
    kept = Steering("shout", (edit,), Record(engine.identity)).save(tmp_path / "kept")
    assert run("when", kept, "--matching", "river").exit_code == 0
    queries, out = tmp_path / "queries.txt", tmp_path / "v.svec"
    words = "one two word it me what where who tell name city story".split()
    texts = [f"what is the {word} of the {noun} ?" for word in words for noun in ("river", "city")]
    queries.write_text("\n".join(texts))
    where = ("--format", "svec", "--out", out, "-m", model_folder)
    assert "--approximate learns" in run("export", kept, *where).stderr
    sizes = ("--pairs", 16, "--validation", 8, "--max-new-tokens", 4, "--queries", queries)
    result = run("export", kept, *where, "--approximate", *sizes, "--json", tmp_path / "told.json")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "told.json").read_text())
    told = document["approximated"]["condition"]
    assert f"decides alike on {told['alike']} of 8 queries" in result.stdout
    use = document["use"]
    assert "condition_vector=SteeringVector.load(" in use
    layers = re.search(r"condition_layer_ids=(\[\d+\])", use)
    threshold = re.search(r"condition_vector_threshold=([-\d.e]+)", use)
    assert layers
    assert threshold
    above = "condition_comparator_threshold_is='smaller'" in use
    given = {
        "condition": tmp_path / "v.condition.svec",
        "condition_layers": layers[1],
        "threshold": threshold[1],
        "comparator": "score_above" if above else "score_below",
        "compare": "mean" if "mode='mean'" in use else "last",
    }
    options = [word for name, value in given.items() for word in ("--option", f"{name}={value}")]
    result = run("import", out, "-m", model_folder, "-o", tmp_path / "back", *options)
    assert result.exit_code == 0, result.output
    assert "tanh of its projection (CAST)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "{added}", "--out", "v"), "--format with one of gguf"),
        (("export", "{added}", "--out", "v", "--format", "gufg"), "did you mean gguf"),
        (("export", "{added}", "--out", "v", "--format", "gguf", "--option", "reader"), "NAME=VALUE"),
        (("export", "{added}", "--out", "no/folder/v", "--format", "gguf"), "cannot write no/folder/v"),
        (("import", "{added}", "--out", "v", "--format", "gguf", "-m", "nano"), "it is not a file"),
        (("import", "{added}/steering.json", "--out", "v", "-m", "nano"), "of no format that is known"),
        (("import", "nowhere", "--out", "v"), "there is no file nowhere"),
    ],
)
def test_mistakes_are_one_line(run: Run, added: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run(*(one.format(added=added) for one in arguments))
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())
