"""What a checkpoint says of itself is looked at before anything is made of it: its config, index, generation settings.

transformers builds what a config says, of a million blocks too, reads whatever file an index names, and finds out in
the midst of an answer that the generation settings are no numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import ModelError
from trimtab.files import json_value

MOST_BLOCKS = 10_000
_MOST_LABELS = 1_000_000
_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_SPANS = ("sliding_window", "attention_chunk_size")
_INDEX = "model.safetensors.index.json"
_ANEW = "download or save the model anew"


def check_folder(name: str, folder: Path) -> None:
    """Refuses a model's folder whose `config.json` is no JSON object, or whose index names what is not in it.

    Args:
        name: What the user called it.
        folder: The folder.

    Raises:
        ModelError: It is so.
    """
    config = _object(name, folder / "config.json")
    check_config(name, config)
    index = folder / _INDEX
    if (folder / "model.safetensors").exists() or not index.is_file():
        return
    shards = _object(name, index).get("weight_map")
    if not isinstance(shards, Mapping) or not shards:
        raise ModelError(
            f"{name} can't be loaded: {_INDEX} has no 'weight_map' of weights and files; {_ANEW}"
        )
    for weight, file in shards.items():
        if not isinstance(file, str) or not re.fullmatch(r"[^\x00/\\]{1,255}", file) or file in (".", ".."):
            raise ModelError(
                f"{name} can't be loaded: {_INDEX} says that {weight:.80} is in {file!r:.80}, which is no file of the "
                f"folder; {_ANEW}"
            )
    missing = sorted(file for file in set(shards.values()) if not (folder / file).is_file())
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(
            f"{name} is incomplete: it lacks {missing[0]}{others}, which {_INDEX} names; {_ANEW}"
        )


def _object(name: str, path: Path) -> Mapping[str, Any]:
    try:
        found = json_value(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name} can't be loaded: {path.name} is not JSON ({error!s:.200}); {_ANEW}"
        ) from error
    if not isinstance(found, Mapping):
        raise ModelError(
            f"{name} can't be loaded: {path.name} must hold an object, not {type(found).__name__}; {_ANEW}"
        )
    return found


def check_config(name: str, config: Mapping[str, Any]) -> None:
    """Refuses a config with numbers that no model has.

    Args:
        name: What the user called the model.
        config: What is in its `config.json`.

    Raises:
        ModelError: It has some.
    """
    text = config.get("text_config")
    for part in (config, text if isinstance(text, Mapping) else {}):
        for key in _BLOCKS:
            _whole(name, part, key, 1, MOST_BLOCKS)
        _whole(name, part, "num_labels", 0, _MOST_LABELS)
        for key in _SPANS:
            _whole(name, part, key, -(2**31), 2**31)


def _whole(name: str, part: Mapping[str, Any], key: str, least: int, most: int) -> None:
    value = part.get(key)
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise ModelError(
            f"{name} can't be loaded: its config.json says that {key} is {value!r:.40}, which must be a whole number "
            f"from {least} to {most}; {_ANEW}"
        )


# --- generation settings ----------------------------------------------------------------------------------------------


def check_generation(name: str, settings: Any) -> None:
    """Refuses generation settings of a checkpoint with which no answer could be written; makes its numbers floats.

    Args:
        name: What the user called the model.
        settings: The `generation_config` of its model.

    Raises:
        ModelError: One of them cannot be used.
    """
    for key, (fits, words) in _SETTINGS.items():
        value = getattr(settings, key, None)
        if value is None:
            continue
        if not fits(value):
            raise ModelError(
                f"{name} can't be used: its generation_config.json says that {key} is {value!r:.40}, which must be "
                f"{words}; mend it, or delete that file"
            )
        if key in _NUMBERS:  # transformers takes no whole ones
            setattr(settings, key, float(value))


def _is_whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and value >= least


def _is_token(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _are_tokens(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_token, value))


def _is_number(least: float, most: float, *, above: bool = False) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        try:
            number = float(value)
        except OverflowError:
            return False
        return math.isfinite(number) and least <= number <= most and not (above and number == least)

    return fits


_Fits = tuple[Callable[[Any], bool], str]
_TOKENS: _Fits = (lambda value: _is_token(value) or _are_tokens(value), "a token's number, or a list of them")
_WHOLE: _Fits = (_is_whole, "a whole number, 0 or more")
_COUNT: _Fits = (lambda value: _is_whole(value, 1), "a whole number, 1 or more")
_SHARE: _Fits = (_is_number(0, 1), "a number from 0 to 1")
_PENALTY: _Fits = (_is_number(0, 1e6, above=True), "a number above 0")
_NUMBERS: dict[str, _Fits] = {
    "temperature": (_is_number(0, 1e6), "a number, 0 or more"),
    "top_p": _SHARE,
    "min_p": _SHARE,
    "typical_p": _SHARE,
    "epsilon_cutoff": _SHARE,
    "eta_cutoff": _SHARE,
    "repetition_penalty": _PENALTY,
    "encoder_repetition_penalty": _PENALTY,
    "length_penalty": (_is_number(-1e6, 1e6), "a number"),
}
_SETTINGS: dict[str, _Fits] = {
    **_NUMBERS,
    **dict.fromkeys(
        ("bos_token_id", "eos_token_id", "pad_token_id", "forced_bos_token_id", "forced_eos_token_id"),
        _TOKENS,
    ),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), (_are_tokens, "a list of tokens' numbers")),
    **dict.fromkeys(("top_k", "min_length", "min_new_tokens", "no_repeat_ngram_size"), _WHOLE),
    **dict.fromkeys(("num_beams", "num_return_sequences", "prefill_chunk_size"), _COUNT),
    "bad_words_ids": (
        lambda value: (
            isinstance(value, list) and bool(value) and all(_are_tokens(one) and one for one in value)
        ),
        "a list of lists of tokens' numbers",
    ),
    "penalty_alpha": (lambda value: value == 0, "0: other searches run code of others"),
}
