"""How numbers and days are written where: decimal sign, sign between thousands, usual form of a day (from CLDR 46)."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Locale(NamedTuple):
    """One way of writing; `day` as `strptime` has it."""

    decimal: str
    group: str
    day: str


_SPACE = "\u00a0"
_POINT_SLASH = Locale(".", ",", "%d/%m/%Y")
_COMMA_DOT = Locale(",", ".", "%d.%m.%Y")
_COMMA_SPACE = Locale(",", _SPACE, "%d.%m.%Y")

Name = Literal["en-US", "en-GB", "en-IN", "de", "de-AT", "de-CH", "fr", "fr-CH", "it", "es", "pt", "pt-BR", "ro", "nl",
               "pl", "cs", "sk", "hu", "bg", "hr", "sl", "sr", "sv", "da", "nb", "fi", "et", "lv", "lt", "el", "tr",
               "ru", "uk", "ja", "zh", "ko"]

LOCALES: dict[str, Locale] = {
    "en-US": Locale(".", ",", "%m/%d/%Y"), "en-GB": _POINT_SLASH, "en-IN": _POINT_SLASH,
    "de": _COMMA_DOT, "de-AT": _COMMA_DOT, "de-CH": Locale(".", "\u2019", "%d.%m.%Y"),
    "fr": Locale(",", "\u202f", "%d/%m/%Y"), "fr-CH": Locale(",", "\u202f", "%d.%m.%Y"),
    "it": Locale(",", ".", "%d/%m/%Y"), "es": Locale(",", ".", "%d/%m/%Y"),
    "pt": Locale(",", _SPACE, "%d/%m/%Y"), "pt-BR": Locale(",", ".", "%d/%m/%Y"),
    "ro": _COMMA_DOT, "nl": Locale(",", ".", "%d-%m-%Y"), "pl": _COMMA_SPACE, "cs": _COMMA_SPACE, "sk": _COMMA_SPACE,
    "hu": Locale(",", _SPACE, "%Y.%m.%d"), "bg": _COMMA_SPACE, "hr": _COMMA_DOT, "sl": _COMMA_DOT, "sr": _COMMA_DOT,
    "sv": Locale(",", _SPACE, "%Y-%m-%d"), "da": _COMMA_DOT, "nb": _COMMA_SPACE, "fi": _COMMA_SPACE,
    "et": _COMMA_SPACE, "lv": _COMMA_SPACE, "lt": Locale(",", _SPACE, "%Y-%m-%d"),
    "el": Locale(",", ".", "%d/%m/%Y"), "tr": _COMMA_DOT, "ru": _COMMA_SPACE, "uk": _COMMA_SPACE,
    "ja": Locale(".", ",", "%Y/%m/%d"), "zh": Locale(".", ",", "%Y/%m/%d"), "ko": Locale(".", ",", "%Y.%m.%d"),
}
NEUTRAL = Locale(".", "", "%Y-%m-%d")
"""Where nothing is declared: as JSON and ISO 8601 write."""
