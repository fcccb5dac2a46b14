"""Which language a response is in, by the library the reference uses, made deterministic."""

from __future__ import annotations

import functools
from typing import Any

import regex

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

# Other ways people write these codes.
_MEANT = {
    "zh": "zh-cn", "cn": "zh-cn", "cmn": "zh-cn", "chi": "zh-cn", "zho": "zh-cn", "zh-hans": "zh-cn", "zh-sg": "zh-cn",
    "mandarin": "zh-cn", "simplified chinese": "zh-cn", "zh-hant": "zh-tw", "zh-hk": "zh-tw", "zh-mo": "zh-tw",
    "nb": "no", "nn": "no", "nor": "no", "nob": "no", "bokmål": "no", "nynorsk": "no", "jp": "ja",
    "jpn": "ja", "iw": "he", "heb": "he", "in": "id", "ind": "id", "fil": "tl", "filipino": "tl", "cz": "cs",
    "ces": "cs", "gr": "el", "ell": "el", "dk": "da", "dan": "da", "ua": "uk", "ukr": "uk", "kr": "ko", "kor": "ko",
    "vn": "vi", "vie": "vi", "farsi": "fa", "fas": "fa", "eng": "en", "spa": "es", "castilian": "es", "fra": "fr",
    "fre": "fr", "deu": "de", "ger": "de", "ita": "it", "por": "pt", "rus": "ru", "ara": "ar", "hin": "hi",
    "ben": "bn", "urd": "ur", "tur": "tr", "tha": "th", "nld": "nl", "dut": "nl", "flemish": "nl", "pol": "pl",
    "swe": "sv", "fin": "fi",
}  # fmt: skip

# The scripts that languages are written in, as regex names them, where that is not the Latin one.
_SCRIPTS = {
    **dict.fromkeys(("bg", "mk", "ru", "uk"), ("Cyrillic",)),
    **dict.fromkeys(("ar", "fa", "ur"), ("Arabic",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("Devanagari",)),
    **dict.fromkeys(("zh-cn", "zh-tw"), ("Han",)),
    "ja": ("Han", "Hiragana", "Katakana"), "ko": ("Hangul", "Han"), "el": ("Greek",), "he": ("Hebrew",),
    "bn": ("Bengali",), "gu": ("Gujarati",), "kn": ("Kannada",), "ml": ("Malayalam",), "pa": ("Gurmukhi",),
    "ta": ("Tamil",), "te": ("Telugu",), "th": ("Thai",),
}  # fmt: skip
# Fewer letters than these are too few to tell languages of one script apart; an ideograph counts for three.
_ENOUGH = 20

_SEED = 0


def code(language: str) -> str:
    """The code of a language given as code or English name; a ValueError if the detector does not know it."""
    wanted = language.strip().lower()
    found = wanted if wanted in NAMES else {name.lower(): code for code, name in NAMES.items()}.get(wanted)
    if found is not None:
        return found
    plain = wanted.replace("_", "-")
    known = {**_MEANT, **dict(zip(NAMES, NAMES, strict=True))}
    # A language alone where there is a country or a script with it: pt-BR is pt.
    parts = plain.split("-")
    meant = next(
        (known[start] for n in range(len(parts), 0, -1) if (start := "-".join(parts[:n])) in known), None
    )
    if meant is None:
        raise ValueError(
            f"must be an ISO 639-1 code or English name of a language, such as es, not {language!r}"
        )
    raise ValueError(f"must be {meant} for {NAMES[meant]}, not {language!r}")


def name(language: str) -> str:
    """The English name of a language code."""
    return NAMES[language]


def is_language(text: str, language: str) -> bool | None:
    """Whether the text is in the language; None where it may be, but is too short to tell.

    Text without any letters counts as being in every language: IFEval's convention for what its detector cannot tell.
    """
    detected = detect(text)
    if detected is None or detected == language:
        return True
    letters = regex.findall(r"\p{L}", text)
    weight = sum(3 if regex.match(r"\p{Script=Han}", letter) else 1 for letter in letters)
    if weight >= _ENOUGH:
        return False
    scripts = "".join(rf"\p{{Script={script}}}" for script in _SCRIPTS.get(language, ("Latin",)))
    # In another script it is in another language for sure.
    return (
        None if all(regex.match(f"[{scripts}\\p{{Script=Common}}]", letter) for letter in letters) else False
    )


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
    try:
        factory.load_profile(PROFILES_DIRECTORY)
    except LangDetectException as error:
        raise (
            error.__context__ or error
        ) from None  # it says the same of an interrupt, and of a lack of memory
    return factory, LangDetectException


def notes() -> dict[str, str]:
    """The detector, as a note of a judgement."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {"language": f"langdetect {version('langdetect')}"}
    except PackageNotFoundError:
        return {"language": "none"}
