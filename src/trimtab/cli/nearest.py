"""What `export --approximate` does: it finds what a format can say nearest to a steering, and measures what is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.models import Loading
from trimtab.cli.options import BatchSizeOption, MaxNewTokensOption, QueriesOption
from trimtab.cli.output import Output
from trimtab.cli.steerings import open_for

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.steering.steering import Steering


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        use: How it is used there, in a line.
        shown: What a person sees of how near it is.
        approximated: The same for a program; None for what was written as it is.
    """

    use: str
    shown: Sequence[str] = ()
    approximated: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Fitting:
    """What the nearest is found on, and measured on."""

    queries: QueriesOption = None
    pairs: Annotated[int, typer.Option(min=1, help="Queries that vectors are fitted on.")] = 24
    validation: Annotated[int, typer.Option(min=1, help="Queries to measure on.")] = 24
    max_new_tokens: MaxNewTokensOption = 192
    batch_size: BatchSizeOption = None

    def write(
        self,
        steering: Steering,
        write: Callable[[Steering], str],
        output: Output,
        model: str | None,
        loading: Loading,
        *,
        says_when: bool = False,
    ) -> Written:
        """Write the same edits at all tokens of all prompts, or, if those cannot be said either, added vectors.

        Where the format can say a condition of CAST, one is learned that decides as the steering's own does.
        """
        from trimtab import formats, learn, prompts

        if says_when and len(steering.whens) == 1 and all(edit.when for edit in steering.edits):
            return self._under_a_condition(steering, write, output, model, loading)
        plain = formats.everywhere(steering)
        lines, told = [], {}
        try:
            use = write(plain)
        except formats.InexpressibleError:
            engine = open_for(steering, model, loading, output)
            drawn = prompts.draw_queries(
                engine.identity, self.queries, learning=self.pairs, validation=self.validation
            )
            found = learn.nearest_added(
                engine,
                steering,
                drawn.learning,
                max_new_tokens=self.max_new_tokens,
                batch_size=self.batch_size,
            )
            use = write(found.steering)
            lines = [
                f"block {block}: of what was added, an added vector loses {share:.0%} of the mean square"
                for block, share in found.lost.items()
            ]
            followed = self._followed(engine, steering, found.steering, drawn.validation)
            if followed is not None:
                lines.append(
                    f"follows {followed[0]:.2f} of {len(drawn.validation)} queries as it was, {followed[1]:.2f} as "
                    "it was written"
                )
            told = {
                "lost": {str(block): share for block, share in found.lost.items()},
                "tokens": found.tokens,
                "queries": len(drawn.validation),
                "followed": followed and followed[0],
                "followed_as_written": followed and followed[1],
            }
            return Written(use, lines, {"as": "added vectors", **told})
        return Written(use, ["written for all tokens of all prompts"], {"as": "all tokens of all prompts"})

    def _under_a_condition(
        self,
        steering: Steering,
        write: Callable[[Steering], str],
        output: Output,
        model: str | None,
        loading: Loading,
    ) -> Written:
        from trimtab import learn, prompts

        engine = open_for(steering, model, loading, output)
        drawn = prompts.draw_queries(
            engine.identity, self.queries, learning=self.pairs, validation=self.validation
        )
        first = min(edit.block for edit in steering.edits if not edit.is_nothing)
        found = learn.nearest_when(
            engine,
            steering.whens[0],
            drawn.learning,
            drawn.validation,
            blocks=range(first + 1),  # what CAST decides later comes too late for the prompt
            batch_size=self.batch_size,
        )
        under = self.write(
            steering.always(), lambda plain: write(plain.when(found.when)), output, model, loading
        )
        line = (
            f"decides alike on {found.alike} of {found.judged} queries, on {found.held} of which it acted: acts if "
            f"{found.when.describe()}"
        )
        told = {"alike": found.alike, "queries_decided": found.judged, "acted_on": found.held}
        return Written(under.use, [line, *under.shown], {**(under.approximated or {}), "condition": told})

    def _followed(
        self, engine: Engine, before: Steering, after: Steering, queries: Sequence[str]
    ) -> tuple[float, float] | None:
        """The shares of answers that follow all instructions of the record; None where it names none."""
        from trimtab import instructions

        wanted = [instructions.from_dict(one) for one in before.record.instructions]
        if not wanted:
            return None
        shares = []
        for one in (before, after):
            answers = engine.generate(
                queries, steering=one, max_new_tokens=self.max_new_tokens, batch_size=self.batch_size
            )
            passed = [all(each.check(answer.text) for each in wanted) for answer in answers]
            shares.append(sum(passed) / len(passed))
        return shares[0], shares[1]
