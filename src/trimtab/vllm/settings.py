"""What steering is served with: the `trimtab` entry of vLLM's own `additional_config`.

That dictionary reaches every process of a server, on every node, and is part of the key under which vLLM keeps
compiled graphs: a graph made for steering is never loaded without it, nor one of another version of trimtab.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__
from trimtab.errors import ModelError

if TYPE_CHECKING:
    import torch

KEY = "trimtab"
"""The entry of `additional_config` that turns steering on."""

TABLE_DTYPES = ("auto", "float32", "bfloat16", "float16")
MOST_GATES = 64

_CACHE_SPACE = "VLLM_CPU_KVCACHE_SPACE"


@dataclass(frozen=True)
class SteeringSettings:
    """How steering is served.

    Attributes:
        steerings: Folder whose subfolders each hold a saved steering; None for none at the start.
        gates: How many gated edits one request may have in one block; 0 for additions only, which are summed and not
            limited.
        table_dtype: Of the tables of directions; `"auto"` takes the model's dtype.
        limit: The most steerings that can be named at once.
        limit_mib: The largest steering, its two files together, in MiB.
        template_options: Variables of the chat template that are set; see `trimtab.load`.
        thoughts: How the model marks what it thinks before it answers (`ThoughtFormat.to_dict`); None for the format
            that it is known by.
        record: Install what `capture` needs: a copy of the residual stream after every block.
        version: The version of trimtab; always the one installed.

    Raises:
        ModelError: If a value makes no sense.
    """

    steerings: str | None = None
    gates: int = 4
    table_dtype: str = "auto"
    limit: int = 1000
    limit_mib: int = 64
    template_options: dict[str, Any] | None = None
    thoughts: dict[str, Any] | None = None
    record: bool = False
    version: str = __version__

    def __post_init__(self) -> None:
        if self.steerings is not None and not isinstance(self.steerings, str):
            raise ModelError(f"steerings is the path of a folder, not {self.steerings!r}")
        if isinstance(self.gates, bool) or not isinstance(self.gates, int):
            raise ModelError(f"gates is a number of gated edits, not {self.gates!r}")
        if not 0 <= self.gates <= MOST_GATES:
            raise ModelError(
                f"gates={self.gates}: a request can have between 0 and {MOST_GATES} gated edits in a block"
            )
        if self.table_dtype not in TABLE_DTYPES:
            raise ModelError(f"table_dtype is one of {', '.join(TABLE_DTYPES)}, not {self.table_dtype!r}")
        for name in ("limit", "limit_mib"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ModelError(f"{name} is a whole number of at least 1, not {value!r}")
        if not isinstance(self.template_options, dict | None):
            raise ModelError(f"template_options is a dictionary, not {self.template_options!r}")
        if not isinstance(self.thoughts, dict | None):
            raise ModelError(f"thoughts is a thought format as a dictionary, not {self.thoughts!r}")
        if not isinstance(self.record, bool):
            raise ModelError(f"record is true or false, not {self.record!r}")
        object.__setattr__(self, "version", __version__)

    @classmethod
    def from_vllm(cls, vllm_config: Any) -> SteeringSettings | None:
        """Reads the settings of a `VllmConfig`; None if it does not ask for steering.

        Raises:
            ModelError: The entry is no dictionary of known settings.
        """
        additional = getattr(vllm_config, "additional_config", None)
        if not isinstance(additional, Mapping) or KEY not in additional:
            return None
        given = additional[KEY]
        if not isinstance(given, Mapping):
            raise ModelError(f'additional_config["{KEY}"] holds the settings of steering, not {given!r}')
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [str(name) for name in given if name not in known]:
            raise ModelError(
                f'additional_config["{KEY}"] has no setting {", ".join(unknown)}; there are {", ".join(known)}'
            )
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON, as they stand in `additional_config`."""
        return dataclasses.asdict(self)

    def stamp(self, vllm_config: Any) -> None:
        """Writes the settings, version included, into a configuration, so that they count in its hash."""
        vllm_config.additional_config = {**vllm_config.additional_config, KEY: self.to_dict()}

    def dtype(self, model_dtype: torch.dtype) -> torch.dtype:
        """The dtype of the tables, for a model of some dtype."""
        import torch

        return model_dtype if self.table_dtype == "auto" else getattr(torch, self.table_dtype)


def cache_bytes_on_cpu(
    given: Collection[str], environment: Mapping[str, str], *, built_in: bool
) -> int | None:
    """The size of the cache to ask for on a CPU, in bytes, as vLLM's `kv_cache_memory_bytes`.

    vLLM would take nine tenths of the machine, or not start where others need it. None if the user said how much, by an
    option (`given`, by their names in Python) or in the environment.
    """
    if environment.get(_CACHE_SPACE) or not {"kv_cache_memory_bytes", "gpu_memory_utilization"}.isdisjoint(
        given
    ):
        return None
    return (1 if built_in else 4) * 2**30
