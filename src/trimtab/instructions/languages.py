"""Which language a response is in, by the library the reference uses, made deterministic."""

from __future__ import annotations

import functools
from typing import Any

from trimtab.errors import InstructionError

# ISO 639-1 codes the detector knows (Chinese in its two scripts), with their English names.
NAMES = {
    "af": "Afrikaans", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French", "gu": "Gujarati", "he": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "kn": "Kannada", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "ml": "Malayalam",
    "mr": "Marathi", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pa": "Punjabi", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "so": "Somali",
    "sq": "Albanian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai",
    "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "zh-cn": "Chinese", "zh-tw": "Traditional Chinese",
}  # fmt: skip

_SEED = 0


def code(language: str) -> str:
    """The code of a language given as code or English name; a ValueError if the detector does not know it."""
    wanted = language.strip().lower()
    found = wanted if wanted in NAMES else {name.lower(): code for code, name in NAMES.items()}.get(wanted)
    if found is None:
        raise ValueError(
            f"must be an ISO 639-1 code or English name of a language, such as es, not {language!r}"
        )
    return found


def name(language: str) -> str:
    """The English name of a language code."""
    return NAMES[language]


def is_language(text: str, language: str) -> bool:
    """Whether the text is in the language. Text without any letters counts as being in every language.

    That is IFEval's convention for what its detector cannot tell.
    """
    detected = detect(text)
    return detected is None or detected == language


@functools.lru_cache(maxsize=4096)
def detect(text: str) -> str | None:
    """The most likely language of the text, or None if it holds nothing to tell by."""
    factory, undetectable = _detector()
    detector = factory.create()
    detector.seed = _SEED
    detector.append(text)
    try:
        return str(detector.detect())
    except undetectable:
        return None


@functools.cache
def _detector() -> tuple[Any, type[Exception]]:
    # A factory of our own: the library's shared one is left as others may have seeded it.
    try:
        from langdetect import LangDetectException
        from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory
    except ImportError:
        raise InstructionError(
            "telling the language of a response needs the package langdetect: pip install langdetect"
        ) from None
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    return factory, LangDetectException


def notes() -> dict[str, str]:
    """The detector, as a note of a judgement."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {"language": f"langdetect {version('langdetect')}"}
    except PackageNotFoundError:
        return {"language": "none"}
