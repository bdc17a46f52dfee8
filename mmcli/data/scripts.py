"""Which writing system a text is mostly in, by the Unicode names of its letters."""

import unicodedata
from collections import Counter
from collections.abc import Collection
from functools import lru_cache

#: First word of a character's Unicode name -> ISO 15924 code, for the scripts in wide use.
_CODES = {
    "LATIN": "Latn",
    "CJK": "Hani",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "HANGUL": "Hang",
    "CYRILLIC": "Cyrl",
    "GREEK": "Grek",
    "ARABIC": "Arab",
    "HEBREW": "Hebr",
    "DEVANAGARI": "Deva",
    "BENGALI": "Beng",
    "TAMIL": "Taml",
    "TELUGU": "Telu",
    "THAI": "Thai",
    "GEORGIAN": "Geor",
    "ARMENIAN": "Armn",
    "ETHIOPIC": "Ethi",
    "KHMER": "Khmr",
    "MYANMAR": "Mymr",
}
#: Letters looked at in one text; a caption's script shows in its first sentences.
_LETTERS = 400


@lru_cache(maxsize=65536)
def _script(char: str) -> str:
    name = unicodedata.name(char, "").split(" ")[0].split("-")[0]
    return _CODES.get(name, "Zyyy")


def main_script(text: str) -> str | None:
    """The ISO 15924 code of most letters of a text; None when it has no letters."""
    if text.isascii():
        return "Latn" if any(c.isalpha() for c in text) else None
    letters = [c for c in text[: 4 * _LETTERS] if c.isalpha()][:_LETTERS]
    if not letters:
        return None
    return Counter(_script(c) for c in letters).most_common(1)[0][0]


def uncovered_script(text: str, covered: Collection[str]) -> str | None:
    """The text's main script when it is not among `covered` (ISO 15924), else None."""
    if "Latn" in covered and text.isascii():
        return None
    script = main_script(text)
    return None if script is None or script in covered else script
