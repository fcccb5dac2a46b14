"""The option that says who judges instructions without a check, and the one place where it becomes a judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.models import Loading
from trimtab.cli.output import Output

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.measure.judges import InstructionJudge, Store

JudgedByOption = Annotated[
    str | None,
    typer.Option(
        "--judged-by",
        metavar="JUDGE",
        help="Who judges instructions without a check (tones): self, probe, another model, or NAME@URL of an endpoint.",
    ),
]
_OPENAI = "openai"


def judge_of(
    output: Output,
    loading: Loading,
    judged_by: str,
    model: Callable[[], Engine],
    store: Store | None = None,
) -> InstructionJudge:
    """The judge that an option names. Another model is loaded by transformers when it is first needed.

    Args:
        output: Told how loading goes.
        loading: How the command's model is loaded; another one goes on the same device.
        judged_by: `self` or `probe`, of the command's model; `NAME@URL`, or `NAME@openai`; or a model by its name,
            folder or GGUF file.
        model: Gives the command's model.
        store: Where what the judge said is kept; None for the user's cache.

    Raises:
        ModelError: There is no model of the name.
        TrimtabError: The client of endpoints is not installed, or there is no key.
        BadParameter: An endpoint has no name or no address.
    """
    from trimtab.evaluate.cache import ContentCache, default_folder, model_key
    from trimtab.measure.judges import EndpointJudge, ModelJudge, ProbeJudge

    store = store or ContentCache(default_folder())
    if judged_by == "probe":
        return ProbeJudge(model())
    if judged_by == "self":
        engine = model()
        return ModelJudge(engine, name=f"{engine.identity.id} itself", key=model_key, store=store)
    name, at, url = judged_by.rpartition("@")
    if at and (url == _OPENAI or url.startswith(("http://", "https://"))):
        if not name:
            raise typer.BadParameter(f"--judged-by {judged_by} names no model; write NAME@{url}")
        return EndpointJudge(name, base_url=None if url == _OPENAI else url, store=store)
    from trimtab.engines.names import check_reachable, source_of

    check_reachable(judged_by, source_of(judged_by))  # before the work that is to be judged
    own = Loading(device=loading.device)
    return ModelJudge(lambda: own.open(output, judged_by), name=judged_by, key=model_key, store=store)


def judged(
    output: Output, instructions: Sequence[Instruction], judge: Callable[[], InstructionJudge]
) -> list[Instruction]:
    """The same instructions; those without a check with the judge, which is made if there are any.

    Raises:
        TrimtabError: The judge cannot answer the question of one of them; before any work that is to be judged.
    """
    asked = [one.question for one in instructions if one.question is not None]
    if not asked:
        return list(instructions)
    made = judge()
    with output.progress() as tell:
        for question in asked:
            made.require(question, progress=tell)
    return [one.judged_by(made) for one in instructions]
