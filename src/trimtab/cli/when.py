"""`trimtab when`: say when a saved steering acts, so that it leaves other prompts alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.models import Loading
from trimtab.cli.options import BatchSizeOption
from trimtab.cli.output import Output
from trimtab.cli.steerings import SteeredModelOption, SteeringArgument, model_of, read_steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.steering.when import When


def command(
    folder: SteeringArgument,
    matching: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Act if the prompt matches this; (?i) in front ignores case."),
    ] = None,
    steer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Learn when to act: prompts to steer, one a line, or .jsonl with 'prompt'."
        ),
    ] = None,
    leave: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --steer: prompts to leave alone."),
    ] = None,
    compare: Annotated[
        Literal["cosine", "cast"],
        typer.Option(
            help="With --steer: what is compared; cast: what CAST's own code compares, which its files can say."
        ),
    ] = "cosine",
    unless: Annotated[bool, typer.Option("--unless", help="Act on the others instead.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Act on every prompt again.")] = False,
    ask: Annotated[
        list[str] | None,
        typer.Option(metavar="PROMPT", help="Say whether it acts on this prompt. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where to save; left out: in place."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which examples are held back to choose on.")] = 0,
    model: SteeredModelOption = None,
    batch_size: BatchSizeOption = None,
    *,
    loading: Loading,
    output: Output,
) -> None:
    """Say when a steering acts: by a regular expression, or learned from examples. It replaces what was said before."""
    ways = (matching is not None) + (steer is not None or leave is not None) + remove
    if ways > 1 or (steer is None) != (leave is None):
        raise typer.BadParameter("give --matching, or --steer and --leave, or --remove")
    if not ways and not ask:
        raise typer.BadParameter(
            "give --matching REGEX, --steer FILE and --leave FILE, --remove, or --ask PROMPT"
        )
    if not ways and (unless or out is not None):
        raise typer.BadParameter("--ask alone changes and saves nothing; leave out --unless and --out")
    steering = read_steering(folder)
    if ways and out is None and not folder.exists():
        raise typer.BadParameter(f"{folder} is on the Hub; say where to save what comes of it: --out DIR")
    engine: Engine | None = None
    if steer is not None or ask:
        model, loading = model_of(steering, model, loading)
        engine = loading.open(output, model)
    had = steering.whens
    if ways:
        steering = steering.always()
        if not remove:
            when = _wanted_when(engine, matching, steer, leave, compare, seed, batch_size, output)
            steering = steering.when(~when if unless else when)
        steering.save(out or folder)
    verdicts = _verdicts(engine, steering, ask or [], batch_size)
    output.result(
        {
            "steering": str(out or folder),
            "digest": steering.digest(),
            "conditions": [described(when) for when in steering.whens],
            "asked": [{"prompt": prompt, "acts": acts} for prompt, acts in verdicts],
        }
    )
    output.print(_acts(steering.whens))
    if ways:
        output.print(f"saved in {out or folder}" + ("; what was said before is gone" if had else ""))
    for prompt, acts in verdicts:
        output.print(f"{'yes' if acts else 'no':<3}  {prompt}")


def described(when: When) -> dict[str, Any]:
    """A `when` for a program: its words under `acts_if`, and the fields it is saved with."""
    from trimtab.steering.when.files import when_document

    return {"acts_if": when.describe(), **when_document(when)}


def _wanted_when(
    engine: Engine | None,
    matching: str | None,
    steer: Path | None,
    leave: Path | None,
    compare: Literal["cosine", "cast"],
    seed: int,
    batch_size: int | None,
    output: Output,
) -> When:
    from trimtab import learn
    from trimtab.prompts.queries import load_queries
    from trimtab.steering.when import Matches

    if matching is not None or engine is None or steer is None or leave is None:
        return Matches(matching or "")
    return learn.when(
        engine,
        load_queries(steer),
        load_queries(leave),
        compare=compare,
        seed=seed,
        batch_size=batch_size,
        progress=not output.quiet,
    )


def _verdicts(
    engine: Engine | None, steering: Any, prompts: list[str], batch_size: int | None
) -> list[tuple[str, bool]]:
    if engine is None or not prompts:
        return []
    acting = engine.decided(steering, prompts, batch_size=batch_size)
    return [(prompt, acts is not None) for prompt, acts in zip(prompts, acting, strict=True)]


def _acts(whens: tuple[When, ...]) -> str:
    if not whens:
        return "acts on every prompt"
    return "\n".join(f"acts only if {when.describe()}" for when in whens)
