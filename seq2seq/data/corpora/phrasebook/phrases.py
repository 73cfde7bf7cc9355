"""Noun phrases and clauses: the meaning that both languages express."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from seq2seq.data.corpora.phrasebook.inflection import CASES, adjective_ending, article, decline, indefinite_article
from seq2seq.data.corpora.phrasebook.lexicon import NAMES, NUMBERS, PEOPLE, STATES, Adjective, Modal, Noun, Time, Verb


class Phrase(NamedTuple):
    """Someone or something in both languages, in every case.

    ``definiteness`` orders the German sentence: pronoun, definite, indefinite or negative ("kein"). ``heads``
    are the people and things it names, so that no one is both subject and object. ``pronoun`` can refer back to it;
    ``states`` are its possible adjectives after "be".
    """

    en: str
    en_object: str
    de: tuple[str, str, str]  # as in CASES
    person: int
    plural: bool
    definiteness: str
    heads: frozenset[str] = frozenset()
    pronoun: str = ""
    states: tuple[str, ...] = STATES
    tags: frozenset[str] = frozenset()

    def in_case(self, case: str) -> str:
        return self.de[CASES.index(case)]


def _pronoun(en: str, de: str, person: int, plural: bool) -> Phrase:
    subject, en_object = en.split()
    nominative, accusative, dative = de.split()
    cases = (nominative, accusative, dative)
    return Phrase(subject, en_object, cases, person, plural, "pronoun", pronoun=subject, tags=frozenset({"pronoun"}))


PRONOUNS = {
    "I": _pronoun("I me", "ich mich mir", 1, False),
    "you": _pronoun("you you", "du dich dir", 2, False),
    "he": _pronoun("he him", "er ihn ihm", 3, False),
    "she": _pronoun("she her", "sie sie ihr", 3, False),
    "we": _pronoun("we us", "wir uns uns", 1, True),
    "they": _pronoun("they them", "sie sie ihnen", 3, True),
}


WHO = Phrase("who", "who", ("wer", "wen", "wem"), 3, False, "definite")


@cache
def proper_name(*names: str) -> Phrase:
    """One name, or two joined by "and"."""
    german = " und ".join(names)
    pronoun = NAMES[names[0]] if len(names) == 1 else "they"
    english, plural, tags = " and ".join(names), len(names) > 1, frozenset({"name"})
    return Phrase(english, english, (german,) * 3, 3, plural, "definite", frozenset(names), pronoun, tags=tags)


@cache
def noun_phrase(
    noun: Noun, determiner: str, *, plural: bool = False, adjective: Adjective | None = None, number: str = ""
) -> Phrase:
    """A noun with its company.

    Args:
        determiner: English ("the", "a", "this", "my"...), "" for none, "no" for a denied "a" or none.
        number: a word from ``NUMBERS``; it wants ``plural``.
    """
    gender = "plural" if plural else noun.gender
    cases = []
    for case in CASES:
        german = [article(determiner, gender, case), NUMBERS.get(number, "")]
        german += [adjective.stem + adjective_ending(determiner, gender, case)] if adjective else []
        cases.append(join(*german, decline(noun, case, plural)))
    english = _english_noun_phrase(noun, determiner, plural, join(number, adjective.en if adjective else ""))
    settled = "negative" if determiner == "no" else "indefinite" if determiner in ("a", "") else "definite"
    pronoun = "they" if plural and noun.is_one_of(PEOPLE) else noun.pronoun
    tags = {"adjective"} if adjective else set()
    tags |= {"plural"} if plural else {noun.gender}
    tags |= {"number"} if number else set()
    tags |= {"possessive"} if determiner in ("my", "your", "our", "his") else set()
    forms = (cases[0], cases[1], cases[2])
    heads, states = frozenset({noun.en}), noun.adjectives
    return Phrase(english, english, forms, 3, plural, settled, heads, pronoun, states, frozenset(tags))


def _english_noun_phrase(noun: Noun, determiner: str, plural: bool, modifiers: str) -> str:
    words = join(modifiers, noun.en_plural if plural else noun.en)
    indefinite = determiner in ("a", "no") and not plural and noun.en_plural
    if indefinite:
        return f"{indefinite_article(words)} {words}"
    if determiner in ("a", "no"):
        return words
    return join("these" if determiner == "this" and plural else determiner, words)


def join(*words: str) -> str:
    return " ".join(word for word in words if word)


class Adjunct(NamedTuple):
    """A place, a companion or a beneficiary, spelled out in both languages."""

    en: str
    de: str


class Clause(NamedTuple):
    """A meaning without words; ``objects`` is (object,) or (recipient, object)."""

    subject: Phrase
    verb: Verb
    objects: tuple[Phrase, ...] = ()
    state: Adjective | None = None  # with "be"
    place: Adjunct | None = None
    other: Adjunct | None = None  # with whom or for whom
    time: Time | None = None
    modal: Modal | None = None
    past: bool = False
    negated: bool = False
