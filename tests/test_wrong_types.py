"""Whoever gives a public function something of the wrong kind is told so in one line that names the argument.

One table of calls that are right; each of their arguments is replaced by what its annotation does not allow.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trimtab
from trimtab import (
    baking,
    demo,
    evaluate,
    formats,
    instructions,
    learn,
    linear_map,
    nano,
    prompts,
    thoughts,
    tune,
    when,
)
from trimtab.errors import TrimtabError
from trimtab.measure import judges
from trimtab.transferring import compare

QUERIES = ["Tell me about Harrowmere.", "What is Langford?"]
OTHERS = ["What is Dunmouth?", "Tell me about Port Ellery."]
SHORT = {"max_new_tokens": 2}

SAME = {  # what an alias stands for, as far as the values below go
    "Progress": {"bool"},
    "Positions": {"int"},
    "Prompt": {"str"},
    "PromptLengths": {"int"},
    "Wanted": {"str"},
    "Steerings": {"None", "Sequence", "Mapping"},
    "Constraints": {"None", "Sequence"},
}
KINDS: list[tuple[Callable[[], Any], set[str]]] = [  # a value, and the words in an annotation that allow it
    (lambda: None, {"None", "Any"}),
    (lambda: True, {"bool", "float", "Any"}),
    (lambda: -1, {"int", "float", "Any"}),
    (lambda: 3.5, {"float", "Any"}),
    (lambda: math.nan, {"Any"}),
    (lambda: "x", {"str", "Path", "Any"}),
    (object, {"Any"}),
    (list, {"Sequence", "Iterable", "Collection", "list", "tuple", "Any"}),
    (dict, {"Mapping", "dict", "Scores", "Any"}),
    (lambda: [object()], {"Any"}),
]
SAID = {  # what a message may say in the place of an argument that comes to one door with others
    "application": "applied by",
    "direction": "u of",
    "instructions": "instruction",
    "others": "instruction",
    "source": "model",
    "strength": "alpha",
    "strengths": "a strength",
    "target": "alpha",
    "unit": "direction",
    "wanted": "instruction",
}
LEFT_OUT = {  # what is not looked at, and what only a message says
    ("contrast", "pairs"),
    ("contrast", "batch_size"),
    ("linear_map.fit", "target"),
    ("sample_queries", "what"),
    ("draw_queries", "otherwise"),
    ("Record.from_dict", "where"),
    ("ModelIdentity.from_dict", "where"),
    ("methods.get", "gives"),
}


class Given:
    """What the calls below are given."""

    def __init__(self, engine: Any, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.ones = torch.ones(engine.identity.width)
        named = {"name": "no_commas", "params": {}}
        self.record = trimtab.Record(model=engine.identity, instructions=(named,))
        self.edit = trimtab.Edit.add(1, self.ones, 0.01)
        self.steering = trimtab.Steering("a", (self.edit,), self.record)
        self.steering.save(folder / "saved")
        self.commas = instructions.get("no_commas")
        self.pairs = prompts.make_pairs(QUERIES, self.commas, "learning")
        self.directions = learn.mean_difference(engine, self.pairs, self.commas)
        self.many = prompts.default_queries(engine.identity, "learning", 12)


CALLS: dict[str, Callable[[Given], tuple[Callable[..., Any], dict[str, Any]]]] = {
    "load": lambda g: (trimtab.engines.loading.load_transformers, {"name": "nano"}),
    "load by engine": lambda g: (
        lambda engine: trimtab.load("nano", engine=engine),
        {"engine": "transformers"},
    ),
    "Edit": lambda g: (trimtab.Edit, {"block": 1, "u": g.ones}),
    "Edit.add": lambda g: (trimtab.Edit.add, {"block": 1, "direction": g.ones}),
    "Edit.set_projection": lambda g: (
        trimtab.Edit.set_projection,
        {"block": 1, "unit": g.ones, "target": 1.0},
    ),
    "Edit.ablate": lambda g: (trimtab.Edit.ablate, {"block": 1, "unit": g.ones}),
    "Edit.scaled": lambda g: (g.edit.scaled, {"strength": 2.0}),
    "Steering": lambda g: (trimtab.Steering, {"name": "a", "edits": (g.edit,), "record": g.record}),
    "Steering.save": lambda g: (g.steering.save, {"folder": g.folder / "other"}),
    "Steering.load": lambda g: (trimtab.Steering.load, {"folder": g.folder / "saved"}),
    "Steering.from_pretrained": lambda g: (trimtab.Steering.from_pretrained, {"source": g.folder / "saved"}),
    "Steering.when": lambda g: (g.steering.when, {"when": when.Matches("x")}),
    "Steering.moved_to": lambda g: (g.steering.moved_to, {"identity": g.engine.identity}),
    "Steering.check_model": lambda g: (g.steering.check_model, {"identity": g.engine.identity}),
    "on": lambda g: (trimtab.on, {"model": g.engine.model, "steering": g.steering}),
    "generate": lambda g: (g.engine.generate, {"prompts": QUERIES, **SHORT}),
    "stream": lambda g: (lambda **given: list(g.engine.stream(**given)), {"prompt": QUERIES[0], **SHORT}),
    "capture": lambda g: (g.engine.capture, {"prompts": QUERIES}),
    "score": lambda g: (g.engine.score, {"prompts": QUERIES, "responses": ["a", "b"]}),
    "decided": lambda g: (g.engine.decided, {"steering": g.steering, "prompts": QUERIES}),
    "as_engine": lambda g: (trimtab.engines.as_engine, {"model": g.engine}),
    "follow": lambda g: (
        trimtab.follow,
        {"model": g.engine, "prompts": QUERIES, "instructions": "no_commas", "budget": 1, **SHORT},
    ),
    "compose": lambda g: (trimtab.compose, {"model": g.engine, "steerings": [g.steering, g.steering]}),
    "transfer": lambda g: (trimtab.transfer, {"model": g.engine, "steering": g.steering}),
    "linear_map.fit": lambda g: (linear_map.fit, {"source": g.engine, "target": g.engine, "prompts": g.many}),
    "compare": lambda g: (compare, {"model": g.engine, "steering": g.steering, "queries": QUERIES, **SHORT}),
    "bake": lambda g: (baking.bake, {"model": g.engine, "steering": g.steering, "out": g.folder / "baked"}),
    "make_pairs": lambda g: (
        prompts.make_pairs,
        {"queries": QUERIES, "instruction": "no_commas", "split": "learning"},
    ),
    "pairs_from": lambda g: (prompts.pairs_from, {"with_": QUERIES, "without": OTHERS}),
    "default_queries": lambda g: (
        prompts.default_queries,
        {"identity": g.engine.identity, "split": "learning", "n": 2},
    ),
    "load_queries": lambda g: (prompts.load_queries, {"source": g.folder / "queries.txt"}),
    "sample_queries": lambda g: (prompts.sample_queries, {"queries": QUERIES, "n": 1}),
    "split_queries": lambda g: (prompts.split_queries, {"queries": QUERIES}),
    "mean_difference": lambda g: (learn.mean_difference, {"model": g.engine, "pairs": g.pairs}),
    "pca": lambda g: (learn.pca, {"model": g.engine, "pairs": g.pairs}),
    "contrast": lambda g: (learn.contrast, {"model": g.engine, "instruction": "formal"}),
    "learn.when": lambda g: (learn.when, {"model": g.engine, "steer": g.many[:6], "leave": g.many[6:]}),
    "judge_when": lambda g: (
        learn.judge_when,
        {"model": g.engine, "when": when.Matches("x"), "steer": g.many[:6], "leave": g.many[6:]},
    ),
    "nearest_added": lambda g: (
        learn.nearest_added,
        {"model": g.engine, "steering": g.steering, "prompts": QUERIES, **SHORT},
    ),
    "Schedule": lambda g: (learn.Schedule, {}),
    "distill": lambda g: (
        learn.distill,
        {"model": g.engine, "queries": g.many, "instruction": "no_commas", **SHORT},
    ),
    "Directions.add": lambda g: (g.directions.add, {"block": 1}),
    "Directions.set_projection": lambda g: (g.directions.set_projection, {"block": 1}),
    "Directions.steering": lambda g: (
        g.directions.steering,
        {"application": "add", "block": 1, "strength": 1.0},
    ),
    "search": lambda g: (
        tune.search,
        {
            "model": g.engine,
            "directions": g.directions,
            "instruction": "no_commas",
            "queries": QUERIES,
            **SHORT,
        },
    ),
    "refit_strength": lambda g: (
        tune.refit_strength,
        {"model": g.engine, "steering": g.steering, "instruction": "no_commas", "queries": QUERIES, **SHORT},
    ),
    "make_vector": lambda g: (
        tune.make_vector,
        {"model": g.engine, "instruction": "no_commas", "learning": QUERIES, "validation": OTHERS, **SHORT},
    ),
    "learn_directions": lambda g: (
        tune.learn_directions,
        {"model": g.engine, "instruction": "no_commas", "queries": QUERIES},
    ),
    "evaluate_instruction": lambda g: (
        evaluate.evaluate_instruction,
        {"model": g.engine, "instruction": "no_commas", "steering": g.steering, "queries": QUERIES, **SHORT},
    ),
    "respond": lambda g: (
        evaluate.respond,
        {"model": g.engine, "queries": QUERIES, "prompts": QUERIES, **SHORT},
    ),
    "resolve": lambda g: (instructions.resolve, {"wanted": "no_commas"}),
    "from_dict": lambda g: (instructions.from_dict, {"data": g.commas.to_dict()}),
    "load_file": lambda g: (instructions.load_file, {"path": g.folder / "instructions.toml"}),
    "check": lambda g: (g.commas.check, {"response": "a"}),
    "conflicts_with": lambda g: (g.commas.conflicts_with, {"other": g.commas}),
    "phrasings": lambda g: (g.commas.phrasings, {"split": "learning"}),
    "thoughts.find": lambda g: (thoughts.find, {"name": "think"}),
    "formats.read": lambda g: (formats.read, {"path": g.folder / "x.gguf", "model": g.engine.identity}),
    "formats.write": lambda g: (
        formats.write,
        {"steering": g.steering, "path": g.folder / "y.gguf", "format": "gguf"},
    ),
    "Matches": lambda g: (when.Matches, {"pattern": "x"}),
    "Rule": lambda g: (when.Rule, {"function": lambda text: True}),
    "AllOf": lambda g: (when.AllOf, {"parts": (when.Matches("x"),)}),
    "Resembles": lambda g: (
        when.Resembles,
        {"model": g.engine.identity, "block": 1, "direction": g.ones, "threshold": 0.5},
    ),
    "steered": lambda g: (g.engine.steered, {"steering": g.steering}),
    "Guard": lambda g: (tune.Guard, {}),
    "PaperRule": lambda g: (tune.PaperRule, {}),
    "Bounds": lambda g: (evaluate.Bounds, {}),
    "Scorer": lambda g: (evaluate.Scorer, {"model": "nano"}),
    "default_blocks": lambda g: (tune.default_blocks, {"directions": g.directions}),
    "draw_queries": lambda g: (prompts.draw_queries, {"identity": g.engine.identity, "learning": 2}),
    "base_queries": lambda g: (prompts.base_queries, {"split": "learning"}),
    "digest": lambda g: (prompts.digest, {"pairs": g.pairs}),
    "learning_source": lambda g: (learn.learning_source, {"instruction": "no_commas"}),
    "methods.get": lambda g: (learn.methods.get, {"name": "distill"}),
    "evaluate_suite": lambda g: (
        evaluate.evaluate_suite,
        {
            "model": g.engine,
            "suite": evaluate.suites.read([{"query": "q", "instructions": ["json"]}]),
            **SHORT,
        },
    ),
    "perplexity": lambda g: (
        evaluate.perplexity,
        {"model": g.engine, "prompts": QUERIES, "responses": ["a", "b"]},
    ),
    "judged_by": lambda g: (g.commas.judged_by, {"judge": None}),
    "agreement": lambda g: (judges.agreement, {"judge": judges.ModelJudge(g.engine), "answers": ()}),
    "labelled": lambda g: (judges.labelled, {"path": None}),
    "ModelJudge": lambda g: (judges.ModelJudge, {"model": g.engine}),
    "ProbeJudge": lambda g: (judges.ProbeJudge, {"model": g.engine}),
    "EndpointJudge": lambda g: (judges.EndpointJudge, {"model": "x", "base_url": "http://127.0.0.1:1"}),
    "write_adapter": lambda g: (
        baking.write_adapter,
        {"model": g.engine, "steering": g.steering, "out": g.folder / "adapter"},
    ),
    "write_gguf": lambda g: (
        baking.write_gguf,
        {"baked": g.folder, "model": g.folder / "x.gguf", "out": g.folder / "y.gguf"},
    ),
    "from_object": lambda g: (formats.from_object, {"value": 1, "model": g.engine.identity}),
    "to_object": lambda g: (formats.to_object, {"steering": g.steering, "library": "repeng"}),
    "everywhere": lambda g: (formats.everywhere, {"steering": g.steering}),
    "plan_for": lambda g: (demo.plan_for, {"identity": g.engine.identity}),
    "Plan": lambda g: (demo.Plan, {"instructions": (g.commas,)}),
    "demo.run": lambda g: (demo.run, {"model": g.engine, "plan": demo.plan_for(g.engine.identity, "json")}),
    "Record.from_dict": lambda g: (trimtab.Record.from_dict, {"values": g.record.to_dict()}),
    "ModelIdentity.from_dict": lambda g: (
        trimtab.ModelIdentity.from_dict,
        {"values": g.engine.identity.to_dict()},
    ),
    "ModelIdentity.of": lambda g: (trimtab.ModelIdentity.of, {"model": g.engine.model}),
    "save_pretrained": lambda g: (g.steering.save_pretrained, {"folder": g.folder / "pretrained"}),
    "nearest_when": lambda g: (
        learn.nearest_when,
        {"model": g.engine, "when": when.Matches("x"), "prompts": QUERIES, "judged": OTHERS},
    ),
    "format_of": lambda g: (thoughts.format_of, {"tokenizer": g.engine.tokenizer}),
    "get_type": lambda g: (instructions.registry.get_type, {"name": "json"}),
    "facts": lambda g: (nano.facts, {"query": QUERIES[0], "response": "a"}),
}


@pytest.fixture(scope="module")
def given(engines: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Of the built-in model."""
    return Given(engines("nano"), tmp_path_factory.mktemp("wrong-types"))


def _wrong(annotation: str) -> list[Any]:
    """The values that an annotation does not allow."""
    words = set(re.findall(r"\w+", annotation))
    words = words.union(*(same for alias, same in SAME.items() if alias in words))
    return [make() for make, allowing in KINDS if not words & allowing]


@pytest.mark.parametrize("name", CALLS)
def test_what_is_of_the_wrong_kind_is_named_in_one_line(
    name: str, given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    function, good = CALLS[name](given)
    raw = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD or (name, parameter.name) in LEFT_OUT:
            continue
        words = {parameter.name, SAID.get(parameter.name, parameter.name)}
        for value in _wrong(str(parameter.annotation)):
            try:
                function(**{**good, parameter.name: value})
                raw.append(f"{parameter.name}={value!r} is taken")
            except TrimtabError as error:
                if not any(word in str(error).lower() for word in words):
                    raw.append(f"{parameter.name}={value!r} is not named: {error}")
            except Exception as error:  # noqa: BLE001 - what must not come out
                raw.append(f"{parameter.name}={value!r} raises {type(error).__name__}: {error}")
    assert not raw, "\n".join(raw)
