"""Greedy answers are asked for once; sampled ones in groups that do not depend on who samples them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.learn.scripted import Asked, Scripted
from tests.tiny import random_steering

from trimtab.constraint import Constraint
from trimtab.engines.ranks import Ranks
from trimtab.learn.distillation.asking import Asking

NO_COMMAS = Constraint.regex("[^,]*")


def test_a_greedy_answer_is_asked_for_once() -> None:
    engine = Scripted(lambda asked: f"so {asked.before}")
    asking = Asking(engine, 8)
    assert [one.text for one in asking.greedily(["a", "b", "a"])] == ["so 0"] * 3
    assert [one.text for one in asking.greedily(["b", "c"])] == ["so 0"] * 2
    assert [one.prompt for one in engine.asked] == ["a", "b", "c"]
    steering = random_steering(engine)
    asking.greedily(["a"], constraints=[NO_COMMAS])
    asking.greedily(["a"], steering=steering)
    asking.greedily(["a"], steering=steering)
    assert [(one.held, one.steered) for one in engine.asked[3:]] == [(True, False), (False, True)]


def test_with_another_limit_only_what_was_cut_off_is_asked_again() -> None:
    def answer(asked: Asked) -> str | None:
        return None if asked.prompt == "long" and not asked.before else "so"

    engine = Scripted(answer)
    asking = Asking(engine, 8)
    assert [one.finished for one in asking.greedily(["long", "short"])] == [False, True]
    asking.lengthen(8)  # what fits a model may be the limit that it has
    assert [one.finished for one in asking.greedily(["long", "short"])] == [False, True]
    asking.lengthen(16)
    assert [one.finished for one in asking.greedily(["long", "short"])] == [True, True]
    assert [one.prompt for one in engine.asked] == ["long", "short", "long"]


class Several(Ranks):
    """One of two processes, of which each is played in turn."""

    def __init__(self, rank: int, common: dict[Any, Any]) -> None:
        self.count, self.rank, self._common = 2, rank, common

    def merge(self, mine: Mapping[Any, Any]) -> dict[Any, Any]:
        self._common.update(mine)
        return dict(self._common)


def test_any_number_of_processes_samples_the_same() -> None:
    class Groups(Scripted):
        """Answers with what is sampled together."""

        def generate(self, prompts: Sequence[Any], **settings: Any) -> list[Any]:
            found = super().generate(prompts, **settings)
            self.groups = [*getattr(self, "groups", []), (settings["seed"], tuple(prompts))]
            return found

    prompts = [f"p{number}" for number in range(70)]
    alone = Groups()
    whole = [one.text for one in Asking(alone, 8).sampled(prompts, 0.7, 3)]
    common: dict[Any, Any] = {}
    together = []
    for rank in (1, 0):
        engine = Groups()
        asking = Asking(engine, 8, Several(rank, common))
        if rank == 1:
            for number in asking.ranks.share(range(3)):
                group = prompts[32 * number : 32 * number + 32]
                common[number] = engine.generate(group, seed=30_021 + number, do_sample=True, temperature=0.7)
        else:
            assert [one.text for one in asking.sampled(prompts, 0.7, 3)] == whole
        together += engine.groups
    assert sorted(together) == sorted(alone.groups)
