"""The words of the phrasebook and their forms, with what grammar and good sense ask of each.

A noun lists the adjectives that suit it and the kinds of thing it is; a verb lists the kinds it takes as
subject and object. So the grammar in ``phrasebook.py`` never has a suitcase sing. Every English word (in its
construction) has exactly one German counterpart.
"""

from __future__ import annotations

from typing import NamedTuple


class Adjective(NamedTuple):
    """The stem differs from the predicate where an ending drops an e."""

    en: str
    de: str  # as a predicate: "müde", "teuer"
    stem: str  # before an ending: "müd-", "teur-"


class Noun(NamedTuple):
    """``pronoun`` may stand for a singular one later; "" where German gender would clash or nothing fits."""

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
    """``de`` marks a separable prefix with a bar: ``auf|machen``. ``changed`` is the stem of du and er."""

    en: str  # "pick up": the first word is inflected
    en_past: str  # "" where it looks like the present (read) or the verb stays in the present
    de: str
    participle: str
    subjects: frozenset[str]
    objects: frozenset[str] = frozenset()
    frame: str = "intransitive"  # accusative, dative, ditransitive, auf, mit, motion, clause, predicate
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
    """``uses``: ``habit`` and ``point`` for the present, ``past`` for the perfect."""

    en: str
    de: str
    uses: frozenset[str]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _kinds(text: str) -> frozenset[str]:
    return frozenset(text.split())


ADJECTIVES = {
    en: Adjective(en, de, stem)
    for en, de, stem in (
        ("old", "alt", "alt"),
        ("young", "jung", "jung"),
        ("small", "klein", "klein"),
        ("big", "groß", "groß"),
        ("new", "neu", "neu"),
        ("beautiful", "schön", "schön"),
        ("red", "rot", "rot"),
        ("green", "grün", "grün"),
        ("white", "weiß", "weiß"),
        ("black", "schwarz", "schwarz"),
        ("expensive", "teuer", "teur"),
        ("cheap", "billig", "billig"),
        ("heavy", "schwer", "schwer"),
        ("fresh", "frisch", "frisch"),
        ("sweet", "süß", "süß"),
        ("cold", "kalt", "kalt"),
        ("hot", "heiß", "heiß"),
        ("long", "lang", "lang"),
        ("friendly", "freundlich", "freundlich"),
        ("tired", "müde", "müd"),
        ("hungry", "hungrig", "hungrig"),
    )
}

STATES = _words("tired hungry")  # what anybody can be today, names and pronouns included

_ADULT = _words("old young friendly tired hungry")
_GROWN = _words("young friendly tired hungry")
_CHILD = _words("small friendly tired hungry")
_KIN = _words("friendly tired hungry")
_ANIMAL = _words("small big old young black white hungry tired")
_CLOTHES = _words("new old red green white black expensive cheap beautiful")
_GOODS = _words("new old red green black big small expensive cheap heavy")
_PLAIN = _words("new old small big expensive cheap")


def _noun(
    en: str,
    de: str,
    gender: str,
    kind: str,
    adjectives: tuple[str, ...],
    *,
    uses: str = "",
    pronoun: str = "",
    weak: bool = False,
) -> Noun:
    """``en`` and ``de`` are "singular plural", or the singular alone for a mass noun."""
    singular, _, plural = en.partition(" ")
    de_singular, _, de_plural = de.partition(" ")
    return Noun(singular, plural, de_singular, de_plural, gender, kind, adjectives, _kinds(uses), pronoun, weak)


_NOUN_ROWS = (
    _noun("teacher teachers", "Lehrer Lehrer", "m", "known", _ADULT, uses="person", pronoun="he"),
    _noun("doctor doctors", "Arzt Ärzte", "m", "known", _ADULT, uses="person", pronoun="he"),
    _noun("man men", "Mann Männer", "m", "person", _ADULT, pronoun="he"),
    _noun("woman women", "Frau Frauen", "f", "person", _ADULT, pronoun="she"),
    _noun(
        "neighbour neighbours",
        "Nachbar Nachbarn",
        "m",
        "known",
        _ADULT,
        uses="person",
        pronoun="he",
        weak=True,
    ),
    _noun("student students", "Student Studenten", "m", "person", _GROWN, pronoun="he", weak=True),
    _noun("guest guests", "Gast Gäste", "m", "known", _ADULT, uses="person", pronoun="he"),
    _noun("boy boys", "Junge Jungen", "m", "person", _CHILD, uses="child", pronoun="he", weak=True),
    _noun("girl girls", "Mädchen Mädchen", "n", "person", _CHILD, uses="child"),
    _noun("child children", "Kind Kinder", "n", "known", _CHILD, uses="person child"),
    _noun("brother brothers", "Bruder Brüder", "m", "kin", _KIN, pronoun="he"),
    _noun("sister sisters", "Schwester Schwestern", "f", "kin", _KIN, pronoun="she"),
    _noun("aunt aunts", "Tante Tanten", "f", "kin", ("old", *_KIN), pronoun="she"),
    _noun("uncle uncles", "Onkel Onkel", "m", "kin", ("old", *_KIN), pronoun="he"),
    _noun("friend friends", "Freund Freunde", "m", "kin", _KIN, pronoun="he"),
    _noun("dog dogs", "Hund Hunde", "m", "animal", _ANIMAL, uses="pet wash"),
    _noun("cat cats", "Katze Katzen", "f", "animal", _ANIMAL, uses="pet"),
    _noun("horse horses", "Pferd Pferde", "n", "animal", _ANIMAL),
    _noun("bird birds", "Vogel Vögel", "m", "animal", _words("small big young black white beautiful")),
    _noun("apple apples", "Apfel Äpfel", "m", "food", _words("red green sweet fresh small big"), uses="wash"),
    _noun("egg eggs", "Ei Eier", "n", "food", _words("fresh small big white")),
    _noun("cake cakes", "Kuchen Kuchen", "m", "food", _words("sweet fresh small big cold"), uses="gift"),
    _noun("tomato tomatoes", "Tomate Tomaten", "f", "food", _words("red green fresh small big"), uses="wash"),
    _noun("banana bananas", "Banane Bananen", "f", "food", _words("sweet green fresh small big")),
    _noun("potato potatoes", "Kartoffel Kartoffeln", "f", "food", _words("small big fresh"), uses="wash"),
    _noun("coffee", "Kaffee", "m", "drink", _words("hot cold")),
    _noun("tea", "Tee", "m", "drink", _words("hot cold sweet")),
    _noun("milk", "Milch", "f", "drink", _words("hot cold fresh")),
    _noun("water", "Wasser", "n", "drink", _words("hot cold fresh")),
    _noun("bread", "Brot", "n", "bread", _words("fresh old")),
    _noun(
        "book books",
        "Buch Bücher",
        "n",
        "thing",
        (*_PLAIN, "heavy", "long"),
        uses="text gift goods post show",
    ),
    _noun(
        "letter letters",
        "Brief Briefe",
        "m",
        "thing",
        _words("long old new"),
        uses="text post show open draft",
    ),
    _noun(
        "postcard postcards",
        "Postkarte Postkarten",
        "f",
        "thing",
        _words("old new beautiful"),
        uses="text post show draft",
    ),
    _noun("newspaper newspapers", "Zeitung Zeitungen", "f", "thing", _words("old new"), uses="text goods"),
    _noun("bag bags", "Tasche Taschen", "f", "thing", (*_GOODS, "beautiful"), uses="goods load open close kit"),
    _noun("coat coats", "Mantel Mäntel", "m", "thing", (*_CLOTHES, "heavy"), uses="goods kit"),
    _noun("hat hats", "Hut Hüte", "m", "thing", (*_CLOTHES, "small", "big"), uses="goods gift kit"),
    _noun("dress dresses", "Kleid Kleider", "n", "thing", (*_CLOTHES, "long"), uses="goods wash kit"),
    _noun(
        "picture pictures",
        "Bild Bilder",
        "n",
        "thing",
        (*_PLAIN, "beautiful"),
        uses="goods load gift post show",
    ),
    _noun("key keys", "Schlüssel Schlüssel", "m", "thing", _words("old new small big"), uses="kit give"),
    _noun("bicycle bicycles", "Fahrrad Fahrräder", "n", "thing", _GOODS, uses="goods wash kit show"),
    _noun("lamp lamps", "Lampe Lampen", "f", "thing", (*_GOODS, "beautiful"), uses="goods load kit"),
    _noun("clock clocks", "Uhr Uhren", "f", "thing", (*_PLAIN, "beautiful"), uses="goods show"),
    _noun("car cars", "Auto Autos", "n", "thing", _GOODS, uses="goods wash kit show"),
    _noun("flower flowers", "Blume Blumen", "f", "thing", _words("red white beautiful fresh"), uses="goods gift"),
    _noun("suitcase suitcases", "Koffer Koffer", "m", "thing", _GOODS, uses="goods load open close kit"),
    _noun(
        "umbrella umbrellas",
        "Regenschirm Regenschirme",
        "m",
        "thing",
        _GOODS[:-1],
        uses="goods open close kit",
    ),
    _noun("door doors", "Tür Türen", "f", "fixture", _words("old new red green white heavy"), uses="open close"),
    _noun("window windows", "Fenster Fenster", "n", "fixture", _words("old new small big"), uses="open close"),
    _noun("train trains", "Zug Züge", "m", "vehicle", _words("long new old")),
    _noun("bus buses", "Bus Busse", "m", "vehicle", _words("red green old new")),
    _noun("garden gardens", "Garten Gärten", "m", "home", _words("small big beautiful old")),
    _noun("kitchen kitchens", "Küche Küchen", "f", "home", _words("small big new old"), uses="room"),
    _noun("house houses", "Haus Häuser", "n", "home", _words("small big new old beautiful"), uses="room show"),
    _noun("office offices", "Büro Büros", "n", "home", _words("small big new"), uses="room show"),
    _noun("park parks", "Park Parks", "m", "place", _words("small big beautiful")),
    _noun("station stations", "Bahnhof Bahnhöfe", "m", "place", _words("small big old new")),
    _noun("market markets", "Markt Märkte", "m", "place", _words("small big")),
    _noun(
        "library libraries",
        "Bibliothek Bibliotheken",
        "f",
        "place",
        _words("small big old new"),
        uses="sight",
    ),
    _noun("museum museums", "Museum Museen", "n", "place", _words("small big old new"), uses="sight"),
    _noun("village villages", "Dorf Dörfer", "n", "place", _words("small old beautiful"), uses="sight"),
)
NOUNS = {noun.en: noun for noun in _NOUN_ROWS}

# Which determiners a kind of noun takes: "" is none at all (plural and mass nouns), "#" a number.
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

# English and German preposition for being there; the German one takes the dative.
PLACES = {
    "garden": ("in", "in"),
    "kitchen": ("in", "in"),
    "house": ("in", "in"),
    "office": ("in", "in"),
    "park": ("in", "in"),
    "library": ("in", "in"),
    "museum": ("in", "in"),
    "village": ("in", "in"),
    "station": ("at", "an"),
    "market": ("at", "auf"),
}
DESTINATIONS = _words("station market library museum park")  # "zu" with the dative
CITIES = {"Berlin": "Berlin", "Hamburg": "Hamburg", "Vienna": "Wien", "Munich": "München", "Cologne": "Köln"}
NAMES = {
    "Anna": "she",
    "Clara": "she",
    "Julia": "she",
    "Maria": "she",
    "Sophie": "she",
    "Felix": "he",
    "Martin": "he",
    "Paul": "he",
    "Peter": "he",
    "Thomas": "he",
}
NUMBERS = {
    "two": "zwei",
    "three": "drei",
    "four": "vier",
    "five": "fünf",
    "six": "sechs",
    "seven": "sieben",
    "eight": "acht",
    "nine": "neun",
    "ten": "zehn",
    "eleven": "elf",
    "twelve": "zwölf",
    "twenty": "zwanzig",
}

PEOPLE = _kinds("person kin")
_LIVING = _kinds("person kin animal")
_OUTSIDE = _words("garden park")


def _verb(
    en: str,
    en_past: str,
    de: str,
    frame: str,
    objects: str = "",
    *,
    subjects: frozenset[str] = PEOPLE,
    changed: str = "",
    complement: str = "",
    stative: bool = False,
    places: str = "",
) -> Verb:
    """``de`` is the infinitive, and after a comma the perfect: "an|kommen, ist angekommen"."""
    infinitive, _, perfect = de.partition(", ")
    has, _, participle = perfect.partition(" ")
    auxiliary = {"hat": "haben", "ist": "sein"}[has]
    kinds, spots = _kinds(objects), _words(places)
    return Verb(
        en,
        en_past,
        infinitive,
        participle,
        subjects,
        kinds,
        frame,
        changed,
        auxiliary,
        complement,
        stative,
        spots,
    )


_VERB_ROWS = (
    _verb(
        "sleep",
        "slept",
        "schlafen, hat geschlafen",
        "intransitive",
        subjects=_LIVING,
        changed="schläf",
        places="garden kitchen house",
    ),
    _verb(
        "work",
        "worked",
        "arbeiten, hat gearbeitet",
        "intransitive",
        places="garden kitchen office library museum",
    ),
    _verb(
        "play",
        "played",
        "spielen, hat gespielt",
        "intransitive",
        subjects=_kinds("child pet"),
        places="garden park",
    ),
    _verb("sing", "sang", "singen, hat gesungen", "intransitive", places="garden kitchen park"),
    _verb("dance", "danced", "tanzen, hat getanzt", "intransitive", places="garden kitchen park"),
    _verb("get up early", "got", "auf|stehen, ist aufgestanden", "intransitive", complement="früh"),
    _verb("come back", "came", "zurück|kommen, ist zurückgekommen", "intransitive"),
    _verb(
        "arrive",
        "arrived",
        "an|kommen, ist angekommen",
        "intransitive",
        subjects=_kinds("person kin vehicle"),
    ),
    _verb("go", "went", "gehen, ist gegangen", "motion", places="#near"),
    _verb("drive", "drove", "fahren, ist gefahren", "motion", changed="fähr", places="#near #far"),
    _verb("fly", "flew", "fliegen, ist geflogen", "motion", places="#far"),
    _verb("live", "lived", "wohnen, hat gewohnt", "residence", stative=True, places="house village"),
    _verb("buy", "bought", "kaufen, hat gekauft", "accusative", "goods food drink bread", places="market"),
    _verb(
        "eat",
        "ate",
        "essen, hat gegessen",
        "accusative",
        "food bread",
        changed="iss",
        places="garden kitchen park",
    ),
    _verb("drink", "drank", "trinken, hat getrunken", "accusative", "drink", places="garden kitchen"),
    _verb("read", "", "lesen, hat gelesen", "accusative", "text", changed="lies", places="garden park library"),
    _verb(
        "see",
        "saw",
        "sehen, hat gesehen",
        "accusative",
        "person kin animal",
        subjects=_LIVING,
        changed="sieh",
        places="park station market",
    ),
    _verb("look for", "looked", "suchen, hat gesucht", "accusative", "animal goods kit", places="garden park"),
    _verb(
        "find",
        "found",
        "finden, hat gefunden",
        "accusative",
        "animal goods kit",
        places="garden park station",
    ),
    _verb("visit", "visited", "besuchen, hat besucht", "accusative", "person kin sight"),
    _verb("need", "needed", "brauchen, hat gebraucht", "accusative", "kit", stative=True),
    _verb("have", "had", "haben, hat gehabt", "accusative", "animal kit", stative=True),
    _verb("carry", "carried", "tragen, hat getragen", "accusative", "load", changed="träg"),
    _verb("wash", "washed", "waschen, hat gewaschen", "accusative", "wash", changed="wäsch", places="garden"),
    _verb("feed", "fed", "füttern, hat gefüttert", "accusative", "animal", places="garden park"),
    _verb("write", "wrote", "schreiben, hat geschrieben", "accusative", "draft", places="garden office library"),
    _verb("open", "opened", "auf|machen, hat aufgemacht", "accusative", "open"),
    _verb("close", "closed", "zu|machen, hat zugemacht", "accusative", "close"),
    _verb("tidy up", "tidied", "auf|räumen, hat aufgeräumt", "accusative", "room"),
    _verb("bring along", "brought", "mit|bringen, hat mitgebracht", "accusative", "food gift"),
    _verb("call", "called", "an|rufen, hat angerufen", "accusative", "person kin"),
    _verb("invite", "invited", "ein|laden, hat eingeladen", "accusative", "person kin", changed="läd"),
    _verb("pick up", "picked", "ab|holen, hat abgeholt", "accusative", "person kin", places="station"),
    _verb(
        "help",
        "helped",
        "helfen, hat geholfen",
        "dative",
        "person kin",
        changed="hilf",
        places="garden kitchen",
    ),
    _verb("thank", "thanked", "danken, hat gedankt", "dative", "person kin"),
    _verb(
        "follow",
        "followed",
        "folgen, ist gefolgt",
        "dative",
        "person kin animal",
        subjects=_LIVING,
    ),
    _verb("answer", "answered", "antworten, hat geantwortet", "dative", "person kin"),
    _verb("listen to", "listened", "zu|hören, hat zugehört", "dative", "person kin"),
    _verb(
        "belong to",
        "belonged",
        "gehören, hat gehört",
        "dative",
        "person kin",
        subjects=_kinds("thing home animal"),
        stative=True,
    ),
    _verb("give", "gave", "geben, hat gegeben", "ditransitive", "food gift give", changed="gib"),
    _verb("show", "showed", "zeigen, hat gezeigt", "ditransitive", "show animal"),
    _verb("send", "sent", "schicken, hat geschickt", "ditransitive", "post"),
    _verb("wait for", "waited", "warten, hat gewartet", "auf", "person kin vehicle", places="station"),
    _verb(
        "talk to",
        "talked",
        "sprechen, hat gesprochen",
        "mit",
        "person kin",
        changed="sprich",
        places="garden park",
    ),
    _verb("say", "said", "sagen, hat gesagt", "clause", stative=True),
    _verb("know", "", "wissen, hat gewusst", "clause", stative=True),
    _verb("hope", "hoped", "hoffen, hat gehofft", "clause", stative=True),
    _verb("ask", "asked", "fragen, hat gefragt", "clause", stative=True),
    _verb(
        "be",
        "was",
        "sein, ist gewesen",
        "predicate",
        subjects=_kinds("person kin animal food thing home"),
        stative=True,
    ),
)
VERBS = {verb.en: verb for verb in _VERB_ROWS}

MODALS = {"can": Modal("can", "können"), "must": Modal("must", "müssen"), "want": Modal("want", "wollen")}

TIMES = {
    en: Time(en, de, _kinds(uses))
    for en, de, uses in (
        ("today", "heute", "point"),
        ("tomorrow", "morgen", "point"),
        ("on Monday", "am Montag", "point past"),
        ("every morning", "jeden Morgen", "habit"),
        ("every day", "jeden Tag", "habit"),
        ("in the evening", "am Abend", "habit past"),
        ("on Sundays", "sonntags", "habit"),
        ("at the weekend", "am Wochenende", "habit past"),
        ("yesterday", "gestern", "past"),
        ("last week", "letzte Woche", "past"),
    )
}

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


# --- German inflection ---

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


# --- English inflection ---


def indefinite_article(following: str) -> str:
    return "an" if following[0] in "aeiou" else "a"


def third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s")
