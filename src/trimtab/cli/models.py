"""The options by which a command is told how to run its model, and the one place where they become an engine."""

from __future__ import annotations

import dataclasses
import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.completion import model_names
from trimtab.cli.output import Output
from trimtab.engines.registry import DEFAULT, names_of_engines
from trimtab.files import json_value

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.measure.quality import FactCheck
    from trimtab.measure.scorer import Scorer

_PANEL = "How the model is run"

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=model_names,
        help="nano, smollm2 (see trimtab fetch), a model of the Hub, a folder with one, or a GGUF file.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps; the best one there when left out.", rich_help_panel=_PANEL),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16, float16; what suits model and device when left out.", rich_help_panel=_PANEL
    ),
]

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[tuple(names_of_engines())]  # so help and mistakes name what there is

_running: list[Engine] = []


@dataclass(frozen=True)
class Loading:
    """How the models of a command are loaded, by transformers: the options that every such command has."""

    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a model of the Hub.", rich_help_panel=_PANEL)
    ] = None
    gguf_file: Annotated[
        str | None,
        typer.Option(
            "--gguf-file",
            metavar="FILE",
            help="The GGUF file in the model's folder, or on the Hub, to read it from.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    device: DeviceOption = None
    dtype: DtypeOption = None
    device_map: Annotated[
        str | None,
        typer.Option(
            "--device-map",
            metavar="MAP",
            help="Spread the model over devices: auto, balanced, sequential, or JSON of modules and devices.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    quantization: Annotated[
        Literal["4bit", "8bit"] | None,
        typer.Option(help="Hold the weights in so many bits.", rich_help_panel=_PANEL),
    ] = None
    template_options: Annotated[
        str | None,
        typer.Option(
            "--template-options",
            metavar="JSON",
            help="Variables of the model's chat template: '{\"enable_thinking\": false}'.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    thoughts: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="How the model marks its thoughts: think, harmony, or the like; OPENING...CLOSING for other marks; "
            "plain: not at all.",
            show_default="the format that it is known by",
            rich_help_panel=_PANEL,
        ),
    ] = None
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code",
            help="Run the Python code that comes with a model of the Hub.",
            rich_help_panel=_PANEL,
        ),
    ] = False

    def open(self, output: Output, model: str, *, reads: bool = True) -> Engine:
        """Load a model by its name or folder, as `trimtab.load` takes it; `reads` if activations will be read.

        Its engine is closed with the command.

        Raises:
            ModelError: It cannot be loaded.
        """
        return self._load(output, model)

    def _load(self, output: Output, model: str, **options: Any) -> Engine:
        import trimtab
        from trimtab.engines import published
        from trimtab.engines.loading import quiet_bars
        from trimtab.engines.ranks import own_device

        if model in published.PUBLISHED:
            with output.progress() as tell:
                published.fetch(model, progress=tell)
        device = own_device(self.device)
        spread = _device_map(self.device_map)
        wanted = {
            "device": device if spread is None else self.device,
            "gguf_file": self.gguf_file,
            "device_map": spread,
            "quantization": self.quantization,
            "template_options": template_options_of(self.template_options),
            "thoughts": self.thoughts,
        }
        with nullcontext() if output.shows_progress else quiet_bars():
            engine: Engine = trimtab.load(
                model,
                dtype=self.dtype,
                revision=self.revision,
                trust_remote_code=self.trust_remote_code,
                **{option: value for option, value in wanted.items() if value is not None},
                **options,
            )
        _running.append(engine)
        return engine


@dataclass(frozen=True)
class EngineChoice(Loading):
    """How a model is loaded, and by which engine."""

    engine: Annotated[
        EngineName,
        typer.Option(
            help="What runs the model; vllm for many rows at once, or many GPUs.", rich_help_panel=_PANEL
        ),
    ] = DEFAULT
    engine_options: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Options of the engine: '{\"tensor_parallel_size\": 2}' of vllm, say.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def open(self, output: Output, model: str, *, reads: bool = True) -> Engine:
        """Load a model by the engine that was chosen; see `Loading.open`."""
        text = self.engine_options
        try:
            options = {} if text is None else json_value(text)
        except ValueError:
            options = None
        if not isinstance(options, dict):
            raise typer.BadParameter(
                f"--engine-options takes a JSON object such as '{{\"tensor_parallel_size\": 2}}', not {text!r}"
            )
        for one in dataclasses.fields(Loading):
            own = self.engine == "vllm" and one.name == "quantization"  # vLLM has its own, by its own names
            if one.name in options and not own:
                raise typer.BadParameter(
                    f"give {one.name} as --{one.name.replace('_', '-')}, not in --engine-options"
                )
        if self.engine == "vllm":
            options = {"record": reads, "use_tqdm_on_load": output.shows_progress, **options}
            self._prepare_vllm(output)
        return self._load(output, model, engine=self.engine, **options)

    def _prepare_vllm(self, output: Output) -> None:
        if self.device is not None:
            raise typer.BadParameter(
                "--device is not for --engine vllm, which takes the devices that it finds; CUDA_VISIBLE_DEVICES says "
                "which those are"
            )
        for option, given, instead in (
            ("--device-map", self.device_map, '{"tensor_parallel_size": 2}'),
            ("--quantization", self.quantization, '{"quantization": "fp8"}'),
        ):
            if given is not None:
                raise typer.BadParameter(
                    f"{option} is not for --engine vllm, which has its own ways: --engine-options '{instead}'"
                )
        from trimtab.vllm import starting

        starting.check_installed()
        # It would log to standard output, where results go, and much.
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        output.note("starting vllm; half a minute or more")


ScorerOption = Annotated[
    str | None,
    typer.Option(
        "--scorer",
        metavar="MODEL",
        help="Another, small model that scores answers: perplexity and relevance. A name, a folder or a GGUF file.",
    ),
]


def scorer_of(output: Output, loading: Loading, name: str | None) -> Scorer | None:
    """The scorer that an option names: by transformers, on the device of the command's model, when it is first needed.

    Raises:
        ModelError: There is nothing of the name.
    """
    if name is None:
        return None
    from trimtab.engines.names import source_of
    from trimtab.measure.scorer import Scorer

    source_of(name)  # before the work that is to be scored
    own = Loading(device=loading.device)
    return Scorer(name, load=lambda model: own.open(output, model))


def template_options_of(text: str | None) -> dict[str, Any] | None:
    """The value of `--template-options`.

    Raises:
        BadParameter: It is no JSON object.
    """
    if text is None:
        return None
    try:
        options = json_value(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise typer.BadParameter(
            f"--template-options takes a JSON object such as '{{\"enable_thinking\": false}}', not {text!r}"
        )
    return options


def _device_map(text: str | None) -> Any:
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return json_value(text)
    except ValueError as error:
        raise typer.BadParameter(f"--device-map is no JSON object ({error})") from None


def close_engines() -> None:
    """End what runs in other processes for the command that is over."""
    while _running:
        _running.pop().close()


def facts_of(engine: Engine) -> FactCheck | None:
    """How to judge the truth of a model's answers: the exact measure of the built-in model's world, or None."""
    from trimtab import nano

    return nano.facts if nano.is_built_in(engine.identity.id) else None
