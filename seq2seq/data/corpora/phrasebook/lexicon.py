"""The words of the phrasebook, with their forms and possible combinations.

The words are in the tables of the folder ``words``, which any spreadsheet can edit; ``words/README.md`` explains the
columns. The order of the rows decides which sentences a seed gives. A noun lists the adjectives that suit it and the
kinds of thing it is; a verb lists the kinds it takes as subject and object. So the phrasebook never has a suitcase
sing. Every English word (in its construction) has exactly one German counterpart.
"""

from __future__ import annotations

from typing import NamedTuple

from seq2seq.data.corpora.phrasebook.rows import Row, read_table


class Adjective(NamedTuple):
    """An adjective. The stem differs from the predicate where an ending drops an e."""

    en: str
    de: str  # as a predicate: "müde", "teuer"
    stem: str  # before an ending: "müd-", "teur-"


class Noun(NamedTuple):
    """A noun. ``pronoun`` may stand for a singular one later; "" where German gender would clash or nothing fits."""

    en: str
    en_plural: str  # "" for a mass noun
    de: str
    de_plural: str
    gender: str  # m, f, n
    kind: str  # decides the determiners, see DETERMINERS
    adjectives: tuple[str, ...]
    uses: frozenset[str] = frozenset()  # further kinds that a verb can ask for
    pronoun: str = ""
    weak: bool = False  # "den Jungen": every form but the nominative singular is the plural's

    def is_one_of(self, kinds: frozenset[str]) -> bool:
        return not kinds.isdisjoint((self.kind, *self.uses))


class Verb(NamedTuple):
    """A verb. ``de`` marks a separable prefix with a bar: ``auf|machen``. ``changed`` is the stem of du and er."""

    en: str  # "pick up": the first word is inflected
    en_past: str  # "" where it looks like the present (read) or the verb stays in the present
    de: str
    participle: str
    subjects: frozenset[str]
    objects: frozenset[str] = frozenset()
    frame: str = "intransitive"  # one of FRAMES
    changed: str = ""
    auxiliary: str = "haben"
    complement: str = ""  # stands before the prefix: "früh aufstehen"
    stative: bool = False  # no time adverbial, no modal
    places: tuple[str, ...] = ()


class Modal(NamedTuple):
    """A modal verb; its forms are in the conjugation tables, its main verb goes to the end of the German clause."""

    en: str
    de: str


class Time(NamedTuple):
    """A time adverbial. ``uses``: ``habit`` and ``point`` for the present, ``past`` for the perfect."""

    en: str
    de: str
    uses: frozenset[str]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Which determiners a kind of noun takes: "" is a bare noun (plural and mass nouns), "#" a number.
DETERMINERS = {
    "person": _words("the a this #"),
    "known": _words("the a this my your our his #"),
    "kin": _words("my your our his"),
    "animal": (*_words("the a this my your our his #"), ""),
    "food": (*_words("the a this #"), ""),
    "drink": ("the", ""),
    "bread": ("the", ""),
    "thing": (*_words("the a this my your our his #"), ""),
    "fixture": _words("the a this"),
    "vehicle": _words("the this"),
    "home": _words("the our your his"),
    "place": _words("the this"),
}
PEOPLE = frozenset({"person", "kin"})
STATES = ("tired", "hungry")  # states of any person, names and pronouns included
FRAMES = _words("intransitive accusative dative ditransitive auf mit motion residence clause predicate")
GENDERS = ("m", "f", "n")
PRONOUNS = ("he", "she")
USES_OF_TIMES = ("habit", "point", "past")
SPANS = ("#near", "#far")  # where motion goes: to a destination, to a city


# --- Words of grammar ---

MODALS = {"can": Modal("can", "können"), "must": Modal("must", "müssen"), "want": Modal("want", "wollen")}

# (English, German in the present, German in the perfect); "" where the tense does not fit.
SUBORDINATORS = (
    ("because", "weil", "weil"),
    ("although", "obwohl", "obwohl"),
    ("when", "wenn", "als"),
    ("if", "wenn", ""),
)
REPORTS = {
    "say": ("that", "dass"),
    "know": ("that", "dass"),
    "hope": ("that", "dass"),
    "ask": ("whether", "ob"),
}
COORDINATORS = {"and": "und", "but": "aber"}

# --- Tables of words ---


NOUN_COLUMNS = _words("english english_plural german german_plural gender kind adjectives uses pronoun weak")
VERB_COLUMNS = _words(
    "english english_past german german_perfect frame subjects objects places changed_stem complement stative"
)


def _adjective(row: Row) -> Adjective:
    return Adjective(row["english"], row.needed("german"), row.needed("stem"))


def _place(row: Row) -> tuple[str, str, bool]:
    if row["noun"] not in NOUNS:
        raise row.wrong(f'the noun is "{row["noun"]}", which nouns.tsv does not have; add it there')
    return row.needed("english"), row.needed("german"), row.flag("destination")


def _noun(row: Row) -> Noun:
    adjectives = row.several_of("adjectives", ADJECTIVES)
    if not adjectives:
        raise row.wrong("the adjectives are empty; name one or more")
    return Noun(
        row["english"],
        row["english_plural"],
        row.needed("german"),
        row.needed("german_plural") if row["english_plural"] else row["german_plural"],
        row.one_of("gender", GENDERS),
        row.one_of("kind", DETERMINERS),
        adjectives,
        frozenset(row["uses"].split()),
        row.one_of("pronoun", ("", *PRONOUNS)),
        row.flag("weak"),
    )


def _verb(row: Row) -> Verb:
    """A verb; the German perfect is written as "hat geholfen" or "ist gekommen"."""
    has, _, participle = row["german_perfect"].partition(" ")
    if has not in ("hat", "ist") or not participle:
        raise row.wrong(f'the german_perfect is "{row["german_perfect"]}"; write hat or ist, and the participle')
    return Verb(
        row["english"],
        row["english_past"],
        row.needed("german"),
        participle,
        frozenset(row.several_of("subjects", KINDS)),
        frozenset(row.several_of("objects", KINDS)),
        row.one_of("frame", FRAMES),
        row["changed_stem"],
        {"hat": "haben", "ist": "sein"}[has],
        row["complement"],
        row.flag("stative"),
        row.several_of("places", (*_PLACES, *SPANS)),
    )


def _time(row: Row) -> Time:
    return Time(row["english"], row.needed("german"), frozenset(row.several_of("uses", USES_OF_TIMES)))


def _german(row: Row) -> str:
    return row.needed("german")


ADJECTIVES = read_table("adjectives", ("english", "german", "stem"), _adjective, needed=STATES)
NOUNS = read_table("nouns", NOUN_COLUMNS, _noun)
KINDS = dict.fromkeys(kind for noun in NOUNS.values() for kind in (noun.kind, *sorted(noun.uses)))
_PLACES = read_table("places", ("noun", "english", "german", "destination"), _place)
VERBS = read_table("verbs", VERB_COLUMNS, _verb, needed=("be", *REPORTS))
TIMES = read_table("times", ("english", "german", "uses"), _time)
NAMES = read_table("names", ("name", "pronoun"), lambda row: row.one_of("pronoun", PRONOUNS))
NUMBERS = read_table("numbers", ("english", "german"), _german)
CITIES = read_table("cities", ("english", "german"), _german)

# English and German preposition for being there; the German one takes the dative.
PLACES = {noun: (english, german) for noun, (english, german, _) in _PLACES.items()}
DESTINATIONS = tuple(noun for noun, (*_, is_destination) in _PLACES.items() if is_destination)  # "zu" with the dative
