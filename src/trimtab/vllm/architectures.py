"""Which architectures of the vLLM that is installed can be steered, read off its source without making a model.

For each text-generation architecture of vLLM's registry, the class is followed to where it makes its decoder layers
(`make_layers`, a `ModuleList`, a `layer_type`), and the `forward` of what is made there is judged as it is when a model
is served (`trimtab.vllm.residual`). Serving looks again, at the modules themselves, and refuses what does not
return one stream `[tokens, width]`. Models that vLLM runs by its backend for transformers, and the language models
inside multimodal ones, are found when they are served.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from trimtab.errors import ModelError
from trimtab.vllm import need_vllm
from trimtab.vllm.residual import judged

TESTED = frozenset(
    "LlamaForCausalLM MistralForCausalLM Phi3ForCausalLM Gemma2ForCausalLM Qwen2ForCausalLM Qwen3ForCausalLM "
    "MixtralForCausalLM CohereForCausalLM OPTForCausalLM".split()
)
"""Those that trimtab's tests serve and compare with transformers, token for token."""

_REGISTRY = "vllm.model_executor.models.registry"
_MODELS = "vllm.model_executor.models"
_DEPTH = 5
_TOWERS = ("Vision", "Visual", "Image", "Audio")
_SEVERAL_STREAMS = ("altup", "hc_mult", "hc_pre", "hyper_connection")
"""What the source of a layer says whose stream is more than one."""


@dataclass(frozen=True)
class Architecture:
    """What is known of an architecture.

    Attributes:
        name: As in the `architectures` of a model's config.
        found: Whether its decoder layers were found and can be steered.
        layers: The classes of its decoder layers.
        tested: Whether trimtab's tests serve it.
        reason: Why not, if it cannot be steered; else what its layers return.
    """

    name: str
    found: bool
    layers: tuple[str, ...]
    tested: bool
    reason: str


def architectures() -> list[Architecture]:
    """All text-generation architectures of the vLLM that is installed, by name.

    Raises:
        ModelError: If vLLM is not installed, or its registry is not where it was.
    """
    need_vllm("the list of architectures")
    return [_judge(name, module, owner) for name, (module, owner) in sorted(_registered().items())]


def _registered() -> dict[str, tuple[str, str]]:
    """Module and class of each architecture, from the registry's own table."""
    tree = _tree(_REGISTRY)
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_TEXT_GENERATION_MODELS":
            table: dict[str, tuple[str, str]] = ast.literal_eval(node.value)
            return {
                name: (module if "." in module else f"{_MODELS}.{module}", owner)
                for name, (module, owner) in table.items()
            }
    raise ModelError(
        f"the table of text-generation models is not in {_REGISTRY} of this vLLM; install vLLM 0.32"
    )


def _judge(name: str, module: str, owner: str) -> Architecture:
    layers = list(dict.fromkeys(_layers(module, owner)))
    found, reason = _verdict(layers)
    return Architecture(name, found, tuple(layer.name for _, layer in layers), name in TESTED, reason)


def _verdict(layers: Sequence[tuple[str, ast.ClassDef]]) -> tuple[bool, str]:
    if not layers:
        return False, "where it makes its decoder layers was not found"
    kinds = set()
    for place, layer in layers:
        forward = _forward(place, layer, _DEPTH)
        if forward is None:
            return False, f"{layer.name} has no forward that was found"
        text = ast.unparse(layer)
        if any(word in text for word in _SEVERAL_STREAMS):
            return False, f"{layer.name} has more than one residual stream"
        kinds.add(judged(forward))
    if "unknown" in kinds:
        return False, "its source does not say where the residual stream is"
    if len(kinds) > 1:
        return False, "some layers return the stream in two parts, others whole"
    return True, "the stream in two parts" if kinds == {"sum"} else "the whole stream"


# --- following the source --------------------------------------------------------------------------------------------


@cache
def _tree(module: str) -> ast.Module | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@cache
def _is_package(module: str) -> bool:
    spec = find_spec(module)
    return spec is not None and spec.submodule_search_locations is not None


@cache
def _imports(module: str) -> dict[str, list[tuple[str, str]]]:
    """What a module imports from others, by the name it has here; several where the platform decides."""
    found: dict[str, list[tuple[str, str]]] = {}
    for node in ast.walk(_tree(module) or ast.Module([], [])):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = len(parts) - node.level + (1 if _is_package(module) else 0)
                base = ".".join([*parts[:kept], *([base] if base else [])])
            for one in node.names:
                found.setdefault(one.asname or one.name, []).append((base, one.name))
    return found


@cache
def _defined(module: str) -> dict[str, ast.ClassDef | str]:
    """The classes that a module defines, and the other names that it gives to names."""
    found: dict[str, ast.ClassDef | str] = {}
    for node in (_tree(module) or ast.Module([], [])).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            found |= {ast.unparse(target): node.value.id for target in node.targets}
    return found


@cache
def _class(module: str, name: str, depth: int = _DEPTH) -> tuple[str, ast.ClassDef] | None:
    """A class by the name it has in a module, wherever in vLLM it is from."""
    here = _defined(module).get(name)
    if isinstance(here, ast.ClassDef):
        return module, here
    if depth == 0:
        return None
    if here is not None:
        return _class(module, here, depth - 1)
    for other, original in _imports(module).get(name, ()):
        if other.startswith("vllm"):
            found = _class(other, original, depth - 1)
            if found is not None:
                return found
    return None


def _layers(module: str, owner: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes of the decoder layers that a model makes, nearest to it first."""
    start = _class(module, owner)
    if start is None:
        return
    chosen: list[tuple[str, ast.ClassDef]] = []
    seen: set[tuple[str, str]] = set()
    level = [start]
    for _ in range(_DEPTH):
        following: list[tuple[str, ast.ClassDef]] = []
        for place, node in level:
            if (place, node.name) in seen:
                continue
            seen.add((place, node.name))
            chosen.extend(_given_layer_types(place, node))
            made = _made_here(place, node)
            if made:
                # A `layer_type` that a class nearer to the model gives stands for what this one makes by default.
                yield from chosen[:1] or made
                return
            following.extend(_mentioned(place, node))
        level = following
    yield from chosen[:1]


def _given_layer_types(module: str, node: ast.ClassDef) -> Iterator[tuple[str, ast.ClassDef]]:
    """Classes that a class hands on as the type of its layers: as a default, or by keyword."""
    for part in ast.walk(node):
        values: list[ast.expr] = []
        if isinstance(part, ast.FunctionDef):
            arguments = [*part.args.posonlyargs, *part.args.args]
            defaults = dict(zip([one.arg for one in arguments][::-1], part.args.defaults[::-1], strict=False))
            defaults |= {
                one.arg: value
                for one, value in zip(part.args.kwonlyargs, part.args.kw_defaults, strict=True)
                if value is not None
            }
            values = [value for name, value in defaults.items() if "layer_type" in name]
        elif isinstance(part, ast.Call):
            values = [one.value for one in part.keywords if one.arg is not None and "layer_type" in one.arg]
        elif isinstance(part, ast.AnnAssign) and part.value is not None:
            values = [part.value] if "layer_type" in ast.unparse(part.target) else []
        for value in values:
            found = _class(module, value.id) if isinstance(value, ast.Name) else None
            if found is not None:
                yield found


def _made_here(module: str, node: ast.ClassDef) -> list[tuple[str, ast.ClassDef]]:
    """The layers that a class makes itself."""
    calls = [
        call
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("make_layers", "ModuleList"))
    ]
    # `make_layers` may be given a function of the class by its name.
    local = {part.name: part for part in ast.walk(node) if isinstance(part, ast.FunctionDef)}
    named = [
        local[given.id]
        for call in calls
        for given in call.args
        if isinstance(given, ast.Name) and given.id in local
    ]
    found = [layer for maker in (*calls, *named) for layer in _called_layers(module, maker)]
    if not found and calls:  # filled in a loop, or chosen from a dictionary before
        found = [one for one in _called_layers(module, node) if one[1].name.endswith(("Layer", "Block"))]
    return found


def _called_layers(module: str, maker: ast.AST) -> Iterator[tuple[str, ast.ClassDef]]:
    for part in ast.walk(maker):
        if not isinstance(part, ast.Name):
            continue
        found = _class(module, part.id)
        for place, layer in [found] if found is not None else list(_table(module, part.id)):
            takes = _forward(place, layer, _DEPTH)
            if takes is not None and any("hidden" in one.arg for one in takes.args.args):
                yield place, layer


def _table(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes in a dictionary of a module, from which the kind of each layer is looked up."""
    tree = _tree(module)
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) == name:
                for value in node.value.values:
                    found = _class(module, value.id) if isinstance(value, ast.Name) else None
                    if found is not None:
                        yield found


def _mentioned(module: str, node: ast.ClassDef) -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes that a class derives from or names, nearest first."""
    names = [ast.unparse(base).partition("[")[0] for base in node.bases]
    names += [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    for name in dict.fromkeys(names):
        found = _class(module, name)
        if found is not None and "models" in found[0] and not any(tower in name for tower in _TOWERS):
            yield found


def _forward(module: str, layer: ast.ClassDef, depth: int) -> ast.FunctionDef | None:
    """The `forward` of a class, its own or inherited."""
    for node in layer.body:
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            return node
    for base in layer.bases:
        found = _class(module, ast.unparse(base)) if depth else None
        if found is not None:
            forward = _forward(*found, depth - 1)
            if forward is not None:
                return forward
    return None
