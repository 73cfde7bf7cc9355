"""Draw phrases and clauses at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeVar

from seq2seq.data.corpora.phrasebook.german import prepositional
from seq2seq.data.corpora.phrasebook.lexicon import (
    ADJECTIVES,
    CITIES,
    DESTINATIONS,
    DETERMINERS,
    MODALS,
    NAMES,
    NOUNS,
    NUMBERS,
    PEOPLE,
    PLACES,
    STATES,
    TIMES,
    Noun,
    Time,
    Verb,
)
from seq2seq.data.corpora.phrasebook.phrases import PRONOUNS, Adjunct, Clause, Phrase, noun_phrase, proper_name

T = TypeVar("T")


class Dice:
    """Choices that are the same on every platform and Python version: only ``Random.random`` is asked."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]


class Form(NamedTuple):
    """A noun's determiner, and whether it is plural or counted by a number."""

    determiner: str
    plural: bool
    numbered: bool


_WEIGHTS = {"the": 5, "a": 4, "": 3, "#": 3, "no": 5}

_INDEFINITE = ("a", "", "#", "no")


def _determiners(noun: Noun, role: str) -> tuple[str, ...]:
    """The determiners that a noun's kind and its role allow; a denied "a" is "no"."""
    allowed = DETERMINERS[noun.kind]
    if role == "subject":
        return tuple(determiner for determiner in allowed if determiner)
    if role == "known":
        return tuple(determiner for determiner in allowed if determiner not in _INDEFINITE)
    if role == "denied":
        indefinite = ("no",) if "a" in allowed or "" in allowed else ()
        return tuple(determiner for determiner in allowed if determiner not in _INDEFINITE) + indefinite
    return allowed


@cache
def noun_forms(noun: Noun, role: str) -> tuple[Form, ...]:
    """Every determiner and number that a noun takes in a role; the common ones several times.

    ``role`` is "subject" (never bare), "object", "known" (never indefinite) or "denied" (indefinite things
    turn into German "kein").
    """
    forms: list[Form] = []
    single = noun.kind in ("home", "place", "fixture") or not noun.en_plural
    for determiner in _determiners(noun, role):
        weight = _WEIGHTS.get(determiner, 1)
        if role == "subject" and determiner in _INDEFINITE:
            weight = 1
        if determiner == "#":
            forms += [Form("", True, True)] * weight
        elif determiner == "" and noun.en_plural:
            forms += [Form("", True, False)] * weight
        else:
            forms += [Form(determiner, False, False)] * weight * (1 if single else 2)
            forms += [Form(determiner, True, False)] * (0 if single or determiner == "a" else weight)
    return tuple(forms)


@cache
def nouns_of(kinds: frozenset[str]) -> tuple[Noun, ...]:
    return tuple(noun for noun in NOUNS.values() if noun.is_one_of(kinds))


_COMMON_NUMBERS = (*tuple(NUMBERS)[:4], *NUMBERS)


def draw_noun_phrase(
    dice: Dice, nouns: Sequence[Noun], role: str, *, taken: frozenset[str], adjectives: float
) -> Phrase:
    """``taken`` are heads that the sentence has already; ``adjectives`` is the probability of one."""
    noun = dice.pick(nouns)
    while noun.en in taken:
        noun = dice.pick(nouns)
    form = dice.pick(noun_forms(noun, role))
    adjective = ADJECTIVES[dice.pick(noun.adjectives)] if dice.chance(adjectives) else None
    number = dice.pick(_COMMON_NUMBERS) if form.numbered else ""
    return noun_phrase(noun, form.determiner, plural=form.plural, adjective=adjective, number=number)


def draw_name(dice: Dice, taken: frozenset[str], pairs: float = 0.0) -> Phrase:
    names = [name for name in NAMES if name not in taken]
    first = dice.pick(names)
    if not dice.chance(pairs):
        return proper_name(first)
    return proper_name(first, dice.pick([name for name in names if name != first]))


def draw_subject(
    dice: Dice, kinds: frozenset[str], role: str = "subject", *, taken: frozenset[str], adjectives: float
) -> Phrase:
    if "person" in kinds and dice.chance(0.55):
        pronouns = [pronoun for pronoun in PRONOUNS.values() if role == "subject" or pronoun.en != "I"]
        return dice.pick(pronouns) if dice.chance(0.6) else draw_name(dice, taken, pairs=0.15)
    return draw_noun_phrase(dice, nouns_of(kinds), role, taken=taken, adjectives=adjectives)


def draw_object(
    dice: Dice, kinds: frozenset[str], role: str, *, subject: Phrase, taken: frozenset[str], adjectives: float
) -> Phrase:
    """An object for ``subject``: never the same person again, as a pronoun or otherwise."""
    if "person" in kinds and dice.chance(0.45):
        if dice.chance(0.5):
            return draw_name(dice, taken)
        same = subject.person if subject.definiteness == "pronoun" else 0
        return dice.pick([pronoun for pronoun in PRONOUNS.values() if pronoun.person != same])
    return draw_noun_phrase(dice, nouns_of(kinds), role, taken=taken, adjectives=adjectives)


class Plan(NamedTuple):
    """Constraints of a sentence template on a clause; the rest is drawn."""

    verbs: tuple[Verb, ...]
    past: bool = False
    subject: Phrase | None = None
    without: str = ""  # "object", "place" or "time": the answer to a question
    asked: bool = False
    timed: float = 0.3  # probability of a time adverbial
    denied: float = 0.14
    adjectives: float = 0.35
    taken: frozenset[str] = frozenset()
    modals: tuple[str, ...] = tuple(MODALS)
    joined: bool = False  # to another clause: then people are not old or young, only tired or hungry


def draw_clause(dice: Dice, plan: Plan) -> Clause:
    verb = dice.pick([verb for verb in plan.verbs if verb.en_past] if plan.past else plan.verbs)
    subject = plan.subject or _draw_subject_of(dice, verb, plan)
    negated = subject.definiteness != "indefinite" and dice.chance(plan.denied)
    clause = Clause(subject, verb, past=plan.past, negated=negated)
    if verb.frame == "predicate":
        passing = [en for en in subject.states if en in STATES and plan.joined]
        clause = clause._replace(state=ADJECTIVES[dice.pick(passing or subject.states)])
    if not (plan.past or verb.stative or verb.en == "arrive") and dice.chance(0.25):
        modals = ("can", "want") if negated or plan.asked else plan.modals
        clause = clause._replace(modal=MODALS[dice.pick(modals)])
    if plan.without != "object":
        clause = clause._replace(objects=_draw_objects(dice, clause, plan))
    if plan.without != "place":
        clause = clause._replace(place=_draw_place(dice, clause, plan))
    clause = clause._replace(other=_draw_other(dice, clause, plan))
    if plan.without != "time" and dice.chance(plan.timed):
        clause = clause._replace(time=_draw_time(dice, clause, plan.asked))
    return clause


def _draw_subject_of(dice: Dice, verb: Verb, plan: Plan) -> Phrase:
    """Draw the subject. It is definite in a question, and has no adjective if the predicate is one."""
    role = "known" if plan.asked else "subject"
    adjectives = 0.0 if verb.frame == "predicate" else plan.adjectives
    kinds = PEOPLE if verb.frame == "predicate" and plan.joined else verb.subjects
    return draw_subject(dice, kinds, role, taken=plan.taken, adjectives=adjectives)


def _draw_objects(dice: Dice, clause: Clause, plan: Plan) -> tuple[Phrase, ...]:
    verb, subject = clause.verb, clause.subject
    if not verb.objects:
        return ()
    taken, role = plan.taken | subject.heads, "denied" if clause.negated else "object"
    thing = draw_object(dice, verb.objects, role, subject=subject, taken=taken, adjectives=plan.adjectives)
    while verb.en == "have" and thing.definiteness == "definite":
        thing = draw_object(dice, verb.objects, role, subject=subject, taken=taken, adjectives=plan.adjectives)
    if verb.frame != "ditransitive":
        return (thing,)
    return draw_object(dice, PEOPLE, "known", subject=subject, taken=taken, adjectives=plan.adjectives / 2), thing


def _draw_place(dice: Dice, clause: Clause, plan: Plan) -> Adjunct | None:
    verb = clause.verb
    taken = plan.taken.union(clause.subject.heads, *(phrase.heads for phrase in clause.objects))
    obligatory = verb.frame in ("motion", "residence")
    if not verb.places or (clause.negated and clause.objects) or not (obligatory or dice.chance(0.25)):
        return None
    far = "#far" in verb.places and ("#near" not in verb.places or dice.chance(0.5))
    if far or (verb.frame == "residence" and dice.chance(0.7)):
        city = dice.pick(tuple(CITIES))
        return Adjunct(f"to {city}", f"nach {CITIES[city]}") if far else Adjunct(f"in {city}", f"in {CITIES[city]}")
    options = DESTINATIONS if verb.frame == "motion" else verb.places
    nouns = tuple(NOUNS[en] for en in options)
    phrase = draw_noun_phrase(dice, nouns, "object", taken=taken, adjectives=plan.adjectives / 2)
    if verb.frame == "motion":
        return Adjunct(f"to {phrase.en}", prepositional("zu", phrase, "dative"))
    (noun,) = phrase.heads
    english_preposition, german_preposition = PLACES[noun]
    return Adjunct(f"{english_preposition} {phrase.en}", prepositional(german_preposition, phrase, "dative"))


_WITH_COMPANY = frozenset({"work", "play", "sing", "dance", "go", "drive", "fly"})

_WITH_BENEFICIARY = frozenset({"buy", "bring along"})


def _draw_other(dice: Dice, clause: Clause, plan: Plan) -> Adjunct | None:
    if clause.verb.en not in _WITH_COMPANY | _WITH_BENEFICIARY or clause.negated or not dice.chance(0.15):
        return None
    taken = plan.taken.union(clause.subject.heads, *(phrase.heads for phrase in clause.objects))
    adjectives = plan.adjectives / 2
    phrase = draw_object(dice, PEOPLE, "object", subject=clause.subject, taken=taken, adjectives=adjectives)
    if clause.verb.en in _WITH_COMPANY:
        return Adjunct(f"with {phrase.en_object}", prepositional("mit", phrase, "dative"))
    return Adjunct(f"for {phrase.en_object}", prepositional("für", phrase, "accusative"))


def _times(use: str) -> tuple[Time, ...]:
    return tuple(time for time in TIMES.values() if use in time.uses)


_TIMES_BY_USE = {use: _times(use) for use in ("habit", "point", "past")}


def _draw_time(dice: Dice, clause: Clause, asked: bool) -> Time | None:
    """Draw a time adverbial that suits the tense.

    A denied present has none, and an asked one only habits: English would choose another tense.
    """
    fleeting = clause.past and clause.state is not None and clause.state.en in STATES
    if clause.verb.stative and not fleeting:
        return None
    if clause.negated and not (clause.modal or clause.past):
        return None
    if clause.past:
        use = "past"
    elif clause.modal:
        use = "point"
    else:
        use = "habit" if asked or dice.chance(0.5) else "point"
    times = _TIMES_BY_USE[use]
    return dice.pick([time for time in times if time.en != "in the evening"] if clause.verb.complement else times)
