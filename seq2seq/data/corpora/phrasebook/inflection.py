"""Forms of single words: German cases, endings and persons, English articles and persons."""

from __future__ import annotations

from seq2seq.data.corpora.phrasebook.lexicon import Noun

CASES = ("nominative", "accusative", "dative")

_COLUMNS = {"m": 0, "f": 1, "n": 2, "plural": 3}


def _table(nominative: str, accusative: str, dative: str) -> dict[str, list[str]]:
    """Endings by case and then by ``_COLUMNS``; "-" stands for no ending."""
    rows = zip(CASES, (nominative, accusative, dative), strict=True)
    return {case: [ending.strip("-") for ending in row.split()] for case, row in rows}


_DEFINITE = _table("der die das die", "den die das die", "dem der dem den")
_THIS = _table("er e es e", "en e es e", "em er em en")
_EIN = _table("- e - e", "en e - e", "em er em en")
_WEAK = _table("e e e en", "en e e en", "en en en en")
_MIXED = _table("er e es en", "en e es en", "en en en en")
_STRONG = _table("er e es e", "en e es e", "em er em en")

_EIN_WORDS = {"a": "ein", "no": "kein", "my": "mein", "your": "dein", "our": "unser", "his": "sein"}


def article(determiner: str, gender: str, case: str) -> str:
    """The German determiner, "" for none; ``gender`` is m, f, n or plural."""
    column = _COLUMNS[gender]
    if determiner == "the":
        return _DEFINITE[case][column]
    if determiner == "this":
        return "dies" + _THIS[case][column]
    if determiner in _EIN_WORDS:
        return _EIN_WORDS[determiner] + _EIN[case][column]
    return ""


def adjective_ending(determiner: str, gender: str, case: str) -> str:
    """Weak after der-words, mixed after ein-words, strong where no determiner shows the case."""
    if determiner in ("the", "this"):
        table = _WEAK
    elif determiner in _EIN_WORDS:
        table = _MIXED
    else:
        table = _STRONG
    return table[case][_COLUMNS[gender]]


def decline(noun: Noun, case: str, plural: bool) -> str:
    if plural:
        adds_n = case == "dative" and not noun.de_plural.endswith(("n", "s"))
        return noun.de_plural + "n" if adds_n else noun.de_plural
    return noun.de_plural if noun.weak and case != "nominative" else noun.de


_IRREGULAR = {  # ich, du, er, wir, sie
    "sein": "bin bist ist sind sind",
    "haben": "habe hast hat haben haben",
    "können": "kann kannst kann können können",
    "müssen": "muss musst muss müssen müssen",
    "wollen": "will willst will wollen wollen",
    "wissen": "weiß weißt weiß wissen wissen",
}

PRETERITE = {"sein": "war warst war waren waren", "haben": "hatte hattest hatte hatten hatten"}


def person_cell(person: int, plural: bool) -> int:
    """Where a person stands in ich, du, er, wir, sie; "you" is always one person."""
    return (3 if person == 1 else 4) if plural else person - 1


def conjugate(infinitive: str, person: int, plural: bool, changed: str = "") -> str:
    """The present tense, less any separable prefix; ``changed`` is the stem of du and er if not the usual."""
    if infinitive in _IRREGULAR:
        return _IRREGULAR[infinitive].split()[person_cell(person, plural)]
    if plural:
        return infinitive
    stem = infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]
    if person == 1:
        return stem + "e"
    if not changed and stem.endswith(("d", "t")):
        return stem + ("est" if person == 2 else "et")
    stem = changed or stem
    return stem + ("st" if person == 2 and not stem.endswith(("s", "ß", "z")) else "t")


def indefinite_article(following: str) -> str:
    return "an" if following[0] in "aeiou" else "a"


def third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s")
