"""vLLM's own options, as they follow the two dashes: what they say, and which would break steering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.files import json_value

_SKIP = "VLLM_SKIP_MODEL_NAME_VALIDATION"
_REFUSED = {
    "--worker-extension-cls": "steering needs it for itself",
    "--model": "name the model before the two dashes: trimtab serve MODEL -- ...",
    "--grpc": "steerings are chosen over HTTP",
    "--headless": "a node without a server is started with vLLM's own command; docs/cluster.md shows it",
    "--enable-elastic-ep": "workers that join later would lack the steerings that were loaded",
    "--config": "it could say what is refused here; write its options after the two dashes",
}
_READ = (
    "--additional-config",
    "--api-key",
    "--api-server-count",
    "-asc",
    "--dtype",
    "--gpu-memory-utilization",
    "--host",
    "--kv-cache-memory-bytes",
    "--port",
    "--revision",
    "--served-model-name",
    "--uds",
)
"""The options of vLLM whose values matter here, besides those that are refused."""


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuses what the environment tells vLLM if requests would be answered unsteered by it."""
    if environment.get(_SKIP, "").strip().lower() in ("1", "true"):
        raise TrimtabError(
            f"{_SKIP} cannot be set here: a model name with a mistake before its steering would be answered "
            "unsteered; unset it"
        )


def _parsed(options: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each option as `--with-dashes`, with what is given to it in either of its two forms, up to the next one."""
    found: list[tuple[str, list[str]]] = []
    for option in options:
        if option.startswith("-"):
            head, equals, value = option.partition("=")
            name = "--" + head[2:].replace("_", "-") if head.startswith("--") else head
            found.append((name, [value] if equals else []))
        elif found:
            found[-1][1].append(option)
    return found


def names(options: Sequence[str]) -> set[str]:
    """The options that are there, as `--with-dashes`."""
    return {name for name, _ in _parsed(options)}


def value(options: Sequence[str], name: str) -> str | None:
    """What is given to an option the last time it is there."""
    return next((values[0] for given, values in reversed(_parsed(options)) if given == name and values), None)


def keys(options: Sequence[str]) -> list[str]:
    """The API keys that are given: all that follow the option, up to the next one."""
    return [key for name, values in _parsed(options) if name == "--api-key" for key in values]


def refuse(options: Sequence[str]) -> None:
    """Refuses options under which steering would be wrong, or reach no worker.

    Raises:
        TrimtabError: With the reason.
    """
    given = names(options)
    for name in sorted({name.split(".", 1)[0] for name in given} - {"-", "--"}):
        # vLLM's parser takes them for what they are short for, and what they mean would be missed here.
        whole = [option for option in (*_REFUSED, *_READ) if option.startswith(name)]
        if whole and name not in whole:
            raise TrimtabError(f"{name} is short for {' or '.join(whole)}; write it out")
    for option, reason in _REFUSED.items():
        if option in given:
            raise TrimtabError(f"{option} cannot be given here: {reason}")
    for option in ("--api-server-count", "-asc"):
        if option in given and value(options, option) != "1":
            raise TrimtabError(
                f"{option} must be 1: each server process would have steerings of its own, and a request would find "
                "the one or the other; for more throughput use --data-parallel-size"
            )
    if not all(key.strip() for key in keys(options)):
        raise TrimtabError(
            "--api-key is empty, and vLLM would ask for no key at all; give one (is the variable set that holds it?)"
        )
    if options and not options[0].startswith("-"):
        raise TrimtabError(f"what follows the two dashes are vLLM's options, and {options[0]!r:.60} is none")
    dotted = sorted(name for name in given if name.startswith("--additional-config."))
    if dotted:
        raise TrimtabError(
            f"{dotted[0]}: give --additional-config as one JSON object, so that it can be joined"
        )


def take_additional_config(options: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The options without `--additional-config`, and what it says: it is given once, with our part in it."""
    rest: list[str] = []
    text: str | None = None
    options = list(options)
    while options:
        option = options.pop(0)
        if names([option]) != {"--additional-config"}:
            rest.append(option)
        elif "=" in option:
            text = option.partition("=")[2]
        else:
            text = options.pop(0) if options else ""
    if text is None:
        return rest, {}
    try:
        others = json_value(text)
    except ValueError:
        others = None
    if not isinstance(others, dict):
        raise TrimtabError(f"--additional-config must be a JSON object, not {text!r:.60}")
    if "trimtab" in others:
        raise TrimtabError(
            "--additional-config: leave 'trimtab' out; use --steerings, --gates and the like for it"
        )
    return rest, others
