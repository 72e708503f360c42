"""Number formats of a spreadsheet: how they show a number, as far as a price book needs it.

By ECMA-376, 18.8.30 and 18.8.31: up to four sections (positive; negative; zero; text), of which the
first is read here: what is below zero is no value of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# Formats that a workbook names by number alone. The dates of 27 to 36 and 50 to 58 differ by the
# language of the program: the number says that they are dates, and no more.
BUILT_IN = {
    0: "General",
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    5: "#,##0",
    6: "#,##0",
    7: "#,##0.00",
    8: "#,##0.00",
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    12: "# ?/?",
    13: "# ??/??",
    14: "m/d/yyyy",
    15: "d-mmm-yy",
    16: "d-mmm",
    17: "mmm-yy",
    18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM",
    20: "h:mm",
    21: "h:mm:ss",
    22: "m/d/yyyy h:mm",
    37: "#,##0",
    38: "#,##0",
    39: "#,##0.00",
    40: "#,##0.00",
    41: "#,##0",
    42: "#,##0",
    43: "#,##0.00",
    44: "#,##0.00",
    45: "mm:ss",
    46: "[h]:mm:ss",
    47: "mm:ss.0",
    48: "##0.0E+0",
    49: "@",
    **dict.fromkeys([27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58], "yyyy/m/d"),
}
GENERAL, NUMBER, PERCENT, DATE, OTHER = "general", "number", "percent", "date", "other"
# A literal text, a character as it stands, a blank as wide as one, one that fills the cell, a
# bracket.
PARTS = re.compile(
    r'"(?P<text>[^"]*)"?|\\(?P<one>.)|_.|\*.|\[(?P<bracket>[^\]]*)\]|(?P<sign>.)', re.S
)
LONGEST = 255  # characters of a code, as in a spreadsheet
LITERAL = "\1"  # in place of one, among the signs
CONDITION = re.compile(r"[<>=]")
ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)
AM_PM = re.compile(r"am/pm|a/p", re.IGNORECASE)


@dataclass(frozen=True)
class Shown:
    """How a format shows a number: its `kind`, `decimals`, `digits` at least, `literals`.

    `parts` are the letters of a date that it shows, of `ymdhs`. `grouped`: with separators of
    thousands. `literals`: the texts beside the number, such as a currency sign.
    """

    kind: str
    decimals: int = 0
    digits: int = 1
    grouped: bool = False
    literals: str = ""
    parts: frozenset[str] = frozenset()


@lru_cache(1024)
def shown_by(code: str) -> Shown:
    """How a format code shows a number that is not negative."""
    if len(code) > LONGEST:
        return Shown(OTHER)
    signs, literals, elapsed = "", "", False
    for part in PARTS.finditer(code):
        if part["sign"] == ";":
            break
        if part["sign"]:
            signs += part["sign"]
        elif part["bracket"] is not None:
            bracket = part["bracket"]
            if CONDITION.match(bracket):
                return Shown(OTHER)
            if ELAPSED.fullmatch(bracket):
                elapsed = True
            elif bracket.startswith("$"):
                literals += bracket[1:].partition("-")[0]
        else:
            literal = part["text"] or part["one"] or ""
            literals += literal.strip()
            signs += " " if not literal.strip() else LITERAL
    if elapsed or any(character.isdigit() for character in literals):
        return Shown(OTHER)
    if "general" in signs.lower():
        return Shown(GENERAL, literals=literals) if _is_bare(signs, "general") else Shown(OTHER)
    if signs.strip(f" {LITERAL}") == "@":
        return Shown(GENERAL, literals=literals)
    without_am_pm = AM_PM.sub("h", signs)
    if re.search(r"[ymdhsge]", without_am_pm, re.IGNORECASE) and not re.search(r"[0#?]", signs):
        return _date(without_am_pm)
    return _number(signs, literals)


def _is_bare(signs: str, word: str) -> bool:
    return re.sub(r"[^a-z0#?%]", "", signs.lower()) == word


def _date(signs: str) -> Shown:
    parts = set()
    words = re.findall(r"y+|m+|d+|h+|s+|[a-z]", signs.lower())
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        letter = word[0]
        if letter not in "ymdhs":
            return Shown(OTHER)  # an era, or a calendar of another kind
        if letter == "d" and len(word) > 2:
            continue  # the day of the week
        if letter == "m" and (before.startswith("h") or after.startswith("s")):
            letter = "minute"
        parts.add(letter)
    return Shown(DATE, parts=frozenset(parts))


def _number(signs: str, literals: str) -> Shown:
    found = re.fullmatch(r"([^0#?]*)([0#?, ]*[0#?])?(\.([0#?]*))?([^0#?]*)", signs)
    if found is None or (found[2] is None and not found[4]):
        return Shown(OTHER)  # a fraction; digits in groups; nothing, which hides the number
    before, whole, _, decimals, after = found.groups()
    around = before + after
    if after.startswith(",") or re.search(r"[e/@]", around, re.IGNORECASE):
        return Shown(OTHER)  # in thousands; with an exponent
    places = len(decimals or "")
    percent = around.count("%")
    literals += re.sub(r"[%\s()+\-\1]", "", around)
    if percent:
        return Shown(PERCENT if percent == 1 else OTHER, places, literals=literals)
    return Shown(
        NUMBER, places, (whole or "").count("0"), bool(re.search("[, ]", whole or "")), literals
    )
