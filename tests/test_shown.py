"""What a notebook shows of results: a few words, whatever they hold; and what copies come to."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.tiny import PROMPTS, random_steering, tiny_engine

import trimtab
from trimtab.engines.base import Capture, Generation
from trimtab.errors import ModelError
from trimtab.evaluate import Suite
from trimtab.evaluate.suite_files import Item
from trimtab.learn.distillation.lessons import Lesson, Lessons


def _public_dataclasses() -> Iterator[Any]:
    for name in trimtab.__all__:
        found = getattr(trimtab, name)
        names = found.__all__ if inspect.ismodule(found) and hasattr(found, "__all__") else ()
        for one in (found, *(getattr(found, each) for each in names)):
            if inspect.isclass(one) and dataclasses.is_dataclass(one):
                yield one


def test_no_tensor_is_in_what_is_shown_of_a_public_class() -> None:
    shown = [
        f"{one.__qualname__}.{field.name}"
        for one in dict.fromkeys(_public_dataclasses())
        if hasattr(one.__repr__, "__wrapped__")  # the one that dataclasses make
        for field in dataclasses.fields(one)
        if field.repr and "Tensor" in str(field.type)
    ]
    assert shown == []


def test_results_are_shown_in_a_few_words() -> None:
    lesson = Lesson("plain", (1,) * 50, (1,) * 50, (2,) * 50)
    for one in (
        Generation("Yes.", tuple(range(300)), 0, True),
        Capture((0, 1), 2, torch.ones(2, 64), activations=torch.ones(2, 2, 64)),
        Lessons((lesson,) * 100, 100, 100, 100, 1.0),
        Suite(
            "many", tuple(Item(str(number), "Why?", "Why? Be brief.", ()) for number in range(100)), "here"
        ),
    ):
        text = repr(one)
        assert len(text) < 250
        assert text.startswith(type(one).__name__)


def test_an_engine_is_shown_by_its_model_and_not_copied() -> None:
    engine = tiny_engine()
    assert repr(engine) == f"TransformersEngine({engine.identity})"
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(ModelError, match="a TransformersEngine is neither copied nor pickled"):
            way(engine)
    assert engine.generate(PROMPTS[:1], max_new_tokens=1)


def test_a_steering_is_copied_and_pickled_whole() -> None:
    steering = random_steering(tiny_engine())
    for way in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        again = way(steering)
        assert again.digest() == steering.digest()
        assert repr(again) == repr(steering)
        assert len(repr(again)) < 250
