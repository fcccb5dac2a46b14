"""When a steering acts, said by the class of another package: a file of its own, and one line that names it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.evaluate.fakes import IDENTITY, FakeEngine
from tests.steering.test_when import RIVER, steering

from trimtab.errors import SteeringError
from trimtab.steering.steering import Steering
from trimtab.steering.when import When

SOURCE = '''
from dataclasses import dataclass
from torch import Tensor
from trimtab.steering.when import When, prompt_text

@dataclass(frozen=True, eq=False)
class Longer(When):
    """The prompt has more letters than so many; what is read comes first."""

    kind = "acme-longer"
    letters: int
    axis: Tensor

    def holds(self, prompt, read):
        return len(prompt_text(prompt)) > self.letters

    def describe(self):
        return f"the prompt has over {self.letters} letters"

    def __post_init__(self):
        if not isinstance(self.letters, int):
            raise TypeError(f"letters is a number, not {self.letters!r}")


class Unnamed(Longer):
    kind = "acme-unnamed"
'''
Offer = Callable[..., Any]


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Installs a package that names classes in entry points, and gives its module."""
    site = tmp_path / "site"
    information = site / "acme_whens-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-whens\nVersion: 1.0\n")
    (site / "acme_whens.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(site)

    def install(**entries: str) -> Any:
        lines = [f"{name.replace('_', '-')} = {value}" for name, value in entries.items()]
        (information / "entry_points.txt").write_text("\n".join(["[trimtab.whens]", *lines]) + "\n")
        import acme_whens  # type: ignore[import-not-found]

        return acme_whens

    yield install
    sys.modules.pop("acme_whens", None)


def test_it_is_decided_saved_and_loaded_by_its_name(offer: Offer, tmp_path: Path) -> None:
    acme = offer(acme_longer="acme_whens:Longer")
    longer: When = acme.Longer(6, torch.tensor([1.0, 2.0]))
    conditional = steering().when(~longer | RIVER)
    decided = FakeEngine().decided(conditional, ["a lake", "a long lake", "a long river"])
    assert [one is not None for one in decided] == [True, False, True]

    written = json.loads((conditional.save(tmp_path / "s") / "steering.json").read_text())
    [inverted, _] = written["conditions"][0]["parts"]
    assert inverted["parts"] == [{"kind": "acme-longer", "package": "acme-whens", "letters": 6}]
    loaded = Steering.load(tmp_path / "s", IDENTITY)
    assert loaded.whens == conditional.whens
    assert loaded.digest() == conditional.digest()
    assert "the prompt has over 6 letters" in loaded.describe()
    others = [acme.Longer(7, torch.tensor([1.0, 2.0])), acme.Longer(6, torch.tensor([1.0, 3.0]))]
    assert len({longer, acme.Longer(6, torch.tensor([1.0, 2.0])), *others}) == 3


def test_without_its_package_one_line_names_both(
    offer: Offer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = offer(acme_longer="acme_whens:Longer")
    steering().when(acme.Longer(6, torch.ones(2))).save(tmp_path / "s")
    monkeypatch.setattr(sys, "path", sys.path[1:])
    with pytest.raises(
        SteeringError, match=r"kind 'acme-longer' comes with the package 'acme-whens'; install"
    ):
        Steering.load(tmp_path / "s")


def test_a_class_that_would_not_be_found_again_is_not_saved(offer: Offer, tmp_path: Path) -> None:
    acme = offer(acme_longer="acme_whens:Longer")
    with pytest.raises(
        SteeringError, match=r"Unnamed cannot be saved: name it in an entry point 'acme-unnamed'"
    ):
        steering().when(acme.Unnamed(6, torch.ones(2))).save(tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("acme_whens:Missing", "the package acme-whens cannot be loaded: AttributeError"),
        ("acme_whens:Unnamed", "gives no `When` of the kind 'acme-longer'"),
        ("acme_whens:dataclass", "gives no `When` of the kind 'acme-longer'"),
    ],
)
def test_a_package_that_does_not_keep_its_word_is_named(
    offer: Offer, tmp_path: Path, entry: str, words: str
) -> None:
    acme = offer(acme_longer="acme_whens:Longer")
    steering().when(acme.Longer(6, torch.ones(2))).save(tmp_path / "s")
    offer(acme_longer=entry)
    with pytest.raises(SteeringError, match=words) as caught:
        Steering.load(tmp_path / "s")
    assert "\n" not in str(caught.value)


def test_values_its_class_refuses_are_one_line(offer: Offer, tmp_path: Path) -> None:
    from trimtab.steering.documents import canonical_digest

    acme = offer(acme_longer="acme_whens:Longer")
    path = steering().when(acme.Longer(6, torch.ones(2))).save(tmp_path / "s") / "steering.json"
    document = json.loads(path.read_text())
    checksums = document.pop("checksums")
    document["conditions"][0]["letters"] = "six"
    document["checksums"] = {**checksums, "document": canonical_digest(document)}
    path.write_text(json.dumps(document))
    with pytest.raises(SteeringError, match=r"makes no 'acme-longer': letters is a number, not 'six'"):
        Steering.load(tmp_path / "s")
