"""A phrasebook without end: English sentences and their German translations, drawn from one grammar.

A sentence is first drawn as a meaning (who does what to whom, when, where, asked or denied) and then spelled
out twice. The English sentence alone decides the German one: every word has one translation, "you" is always
"du", and what German needs beyond it (gender, case, word order) follows from the lexicon and from grammar.

    meaning (Clause)  ->  english()  "Today the boy opens the old door."
                      ->  german()   "Heute macht der Junge die alte Tür auf."
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

from seq2seq.data.corpora.phrasebook.lexicon import (
    ADJECTIVES,
    CASES,
    CITIES,
    COORDINATORS,
    DESTINATIONS,
    DETERMINERS,
    MODALS,
    NAMES,
    NOUNS,
    NUMBERS,
    PEOPLE,
    PLACES,
    PRETERITE,
    REPORTS,
    STATES,
    SUBORDINATORS,
    TIMES,
    VERBS,
    Adjective,
    Modal,
    Noun,
    Time,
    Verb,
    adjective_ending,
    article,
    conjugate,
    decline,
    indefinite_article,
    person_cell,
    third_person,
)

T = TypeVar("T")
Pair = tuple[str, str]

# --- Noun phrases ---


class Phrase(NamedTuple):
    """Someone or something in both languages, in every case.

    ``definiteness`` orders the German sentence: pronoun, definite, indefinite or negative ("kein"). ``heads``
    are the things it names, so that nobody helps herself. ``pronoun`` can refer back to it; ``states`` are
    the adjectives that it can be said to be.
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
        cases.append(_join(*german, decline(noun, case, plural)))
    english = _english_noun_phrase(noun, determiner, plural, _join(number, adjective.en if adjective else ""))
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
    words = _join(modifiers, noun.en_plural if plural else noun.en)
    indefinite = determiner in ("a", "no") and not plural and noun.en_plural
    if indefinite:
        return f"{indefinite_article(words)} {words}"
    if determiner in ("a", "no"):
        return words
    return _join("these" if determiner == "this" and plural else determiner, words)


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)


_CONTRACTIONS = {"in dem": "im", "an dem": "am", "zu dem": "zum", "zu der": "zur"}


def prepositional(preposition: str, phrase: Phrase, case: str) -> str:
    """A German prepositional phrase, contracted where German contracts: "im Garten", "zur Bibliothek"."""
    words = [preposition, *phrase.in_case(case).split()]
    contracted = _CONTRACTIONS.get(" ".join(words[:2]))
    return " ".join([contracted, *words[2:]] if contracted else words)


# --- Clauses ---


class Adjunct(NamedTuple):
    """A place, a companion or a beneficiary, spelled out in both languages."""

    en: str
    de: str


class Clause(NamedTuple):
    """What is said, before either language says it; ``objects`` is (object,) or (recipient, object)."""

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


def english_verb(clause: Clause, asked: bool) -> Pair:
    """The word that a question puts first, and the rest of the verb; a plain statement has just the first."""
    base, third = clause.verb.en.split()[0], clause.subject.person == 3 and not clause.subject.plural
    if base == "be":
        return _english_be(clause), "not" if clause.negated else ""
    if clause.modal and clause.modal.en != "want":
        return clause.modal.en + ("not" if clause.negated else ""), base
    past = clause.verb.en_past
    if clause.modal:
        base, past = f"want to {base}", ""
    if asked or clause.negated:
        finite = "did" if clause.past else "does" if third else "do"
        return finite, _join("not" if clause.negated else "", base)
    if clause.past:
        return past, ""
    first, _, rest = base.partition(" ")
    return _join(third_person(first) if third else first, rest), ""


def _english_be(clause: Clause) -> str:
    subject = clause.subject
    many = subject.plural or subject.person == 2
    if clause.past:
        return "were" if many else "was"
    return "are" if many else "am" if subject.person == 1 else "is"


def english(clause: Clause, *, asked: bool = False) -> str:
    """A clause in English; ``asked`` puts the auxiliary first."""
    finite, rest = english_verb(clause, asked)
    start = [finite, clause.subject.en, rest] if asked else [clause.subject.en, finite, rest]
    objects = " ".join(phrase.en_object for phrase in clause.objects)
    particle = clause.verb.en.partition(" ")[2]
    shifts = clause.verb.en == "pick up" and clause.objects and clause.objects[0].definiteness == "pronoun"
    start += [objects, particle] if shifts else [particle, objects]
    ends = (part.en for part in (clause.state, clause.place, clause.other, clause.time) if part)
    return _join(*start, *ends)


def verb_bracket(clause: Clause) -> tuple[str, str, str]:
    """The German finite verb, what closes the sentence if it stands second, and both if it stands last."""
    verb, subject = clause.verb, clause.subject
    prefix, _, stem = verb.de.rpartition("|")
    if clause.past and verb.de in PRETERITE:
        finite = PRETERITE[verb.de].split()[person_cell(subject.person, subject.plural)]
        return finite, "", finite
    if clause.past or clause.modal:
        closing = verb.participle if clause.past else prefix + stem
        auxiliary = clause.modal.de if clause.modal else verb.auxiliary
        finite = conjugate(auxiliary, subject.person, subject.plural)
        return finite, closing, f"{closing} {finite}"
    finite = conjugate(stem, subject.person, subject.plural, verb.changed)
    return finite, prefix, prefix + finite


def _german_middle(clause: Clause) -> Iterator[str]:
    """What stands between the finite verb and the end, bar the subject and the pronouns.

    Receivers come first, known things before new ones, time before place, and "nicht" before whatever it
    denies most closely: a place, a state, the end.
    """
    placed = clause.verb.frame in ("auf", "mit")
    objects = [] if placed else list(zip(clause.objects, _object_cases(clause), strict=True))
    known = {case: [phrase.in_case(case)] if phrase.definiteness == "definite" else [] for phrase, case in objects}
    receiver, thing = known.get("dative", []), known.get("accusative", [])
    fresh = ("indefinite", "negative")
    new = [phrase.in_case(case) for phrase, case in objects if phrase.definiteness in fresh]
    time = [clause.time.de] if clause.time else []
    place = [clause.place.de] if clause.place else []
    other = [clause.other.de] if clause.other else []
    yield from receiver + (thing + time if clause.negated else time + thing)
    if new:
        yield from place + new
        place = []
    if clause.negated and not any(phrase.definiteness == "negative" for phrase in clause.objects):
        yield "nicht"
    yield from place + other if clause.objects else other + place
    if placed:
        case = "accusative" if clause.verb.frame == "auf" else "dative"
        yield from (prepositional(clause.verb.frame, phrase, case) for phrase in clause.objects)
    yield clause.state.de if clause.state else clause.verb.complement


def _object_cases(clause: Clause) -> Sequence[str]:
    if clause.verb.frame == "ditransitive":
        return ("dative", "accusative")
    return [clause.verb.frame] * len(clause.objects)


def german(clause: Clause, order: str = "main") -> str:
    """A clause in German.

    Args:
        order: "main" (subject, finite verb), "inverted" (finite verb first, for questions and after whatever
            stands in front of it) or "final" (finite verb last, for subordinate clauses).
    """
    finite, closing, final = verb_bracket(clause)
    subject = clause.subject.in_case("nominative")
    pronouns = []
    if clause.verb.frame not in ("auf", "mit"):
        pairs = zip(clause.objects, _object_cases(clause), strict=True)
        pronouns = [phrase.in_case(case) for phrase, case in pairs if phrase.definiteness == "pronoun"]
    middle = _german_middle(clause)
    if order == "final":
        return _join(subject, *pronouns, *middle, final)
    if order == "main":
        return _join(subject, finite, *pronouns, *middle, closing)
    if clause.subject.definiteness == "pronoun" or "sie" in pronouns:  # which would look like the subject
        return _join(finite, subject, *pronouns, *middle, closing)
    return _join(finite, *pronouns, subject, *middle, closing)


# --- Drawing phrases and clauses ---


class Dice:
    """Choices that are the same on every platform and Python version: only ``Random.random`` is asked."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]


class Form(NamedTuple):
    """What stands before a noun: a determiner, and whether the noun is plural or counted by a number."""

    determiner: str
    plural: bool
    numbered: bool


_WEIGHTS = {"the": 5, "a": 4, "": 3, "#": 3, "no": 5}
_INDEFINITE = ("a", "", "#", "no")


def _determiners(noun: Noun, role: str) -> tuple[str, ...]:
    """What a noun's kind allows, less what the role forbids; a denied "a" is "no"."""
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


def all_noun_phrases(noun: Noun, role: str) -> Iterator[Phrase]:
    """Each phrase that ``draw_noun_phrase`` can draw for this noun, once."""
    for form in dict.fromkeys(noun_forms(noun, role)):
        for adjective in (None, *(ADJECTIVES[en] for en in noun.adjectives)):
            for number in NUMBERS if form.numbered else ("",):
                yield noun_phrase(noun, form.determiner, plural=form.plural, adjective=adjective, number=number)


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
    """What a sentence asks of a clause; the rest is drawn."""

    verbs: tuple[Verb, ...]
    past: bool = False
    subject: Phrase | None = None
    without: str = ""  # "object", "place" or "time": what a question asks for
    asked: bool = False
    timed: float = 0.3  # probability of a time adverbial
    denied: float = 0.14
    adjectives: float = 0.35
    taken: frozenset[str] = frozenset()
    modals: tuple[str, ...] = tuple(MODALS)
    joined: bool = False  # to another clause: then nobody is old or young, only tired or hungry


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
    """A question is about someone known, and what gets an adjective as its predicate has none before."""
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
    """Not for a denied present, and habits only for an asked one: English would choose another tense."""
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


# --- Sentences ---


class Sentence(NamedTuple):
    """English, German, and tags of the phenomena that the sentence shows."""

    src: str
    tgt: str
    tags: frozenset[str]


def _sentence(src: str, tgt: str, mark: str, *tags: frozenset[str]) -> Sentence:
    return Sentence(src[0].upper() + src[1:] + mark, tgt[0].upper() + tgt[1:] + mark, frozenset().union(*tags))


def clause_tags(clause: Clause, order: str) -> frozenset[str]:
    """The phenomena that a clause shows, given where its finite verb stands."""
    tags = set().union(clause.subject.tags, *(phrase.tags for phrase in clause.objects))
    cases = [] if clause.verb.frame in ("auf", "mit") else _object_cases(clause)
    tags |= set(cases)
    if clause.negated:
        tags.add("kein" if any(phrase.definiteness == "negative" for phrase in clause.objects) else "nicht")
    bracketed = clause.past or clause.modal
    if "|" in clause.verb.de:
        tags.add("separable joined" if bracketed or order == "final" else "separable split")
    if bracketed:
        tags.add("past" if clause.past else "modal")
    person = f"{clause.subject.person}{'pl' if clause.subject.plural else 'sg'}"
    return frozenset(tags | {person, f"verb {order}"})


_ACTIONS = tuple(verb for verb in VERBS.values() if verb.frame != "clause") + (VERBS["be"],) * 3
_PERSONAL = tuple(verb for verb in _ACTIONS if "person" in verb.subjects)
_DATED = tuple(verb for verb in _ACTIONS if not verb.stative)
_JOINED = tuple(verb for verb in _ACTIONS if verb.en != "belong to")  # what clauses can be joined about
_SIMPLE = tuple(verb for verb in _ACTIONS if verb.frame in ("intransitive", "predicate"))
_DATED_PERSONAL = tuple(verb for verb in _PERSONAL if not verb.stative)
_PAST = 0.25


def statement(dice: Dice) -> Sentence:
    past = dice.chance(_PAST)
    clause = draw_clause(dice, Plan(_ACTIONS, past))
    while _is_bare(clause):
        clause = draw_clause(dice, Plan(_ACTIONS, past))
    return _sentence(english(clause), german(clause), ".", clause_tags(clause, "main"))


def _is_bare(clause: Clause) -> bool:
    """A subject and a verb, and nothing else."""
    more = (clause.state, clause.place, clause.other, clause.time, clause.modal, clause.negated)
    return not (clause.objects or any(more))


def fronted_statement(dice: Dice) -> Sentence:
    """A time adverbial in front: English goes on as ever, German inverts."""
    plan = Plan(_DATED, dice.chance(_PAST), timed=1.0)
    clause = draw_clause(dice, plan)
    while clause.time is None:
        clause = draw_clause(dice, plan)
    time, clause = clause.time, clause._replace(time=None)
    tags = clause_tags(clause, "inverted") | {"fronted time"}
    return _sentence(f"{time.en} {english(clause)}", f"{time.de} {german(clause, 'inverted')}", ".", tags)


def yes_no_question(dice: Dice) -> Sentence:
    clause = draw_clause(dice, Plan(_ACTIONS, past=dice.chance(_PAST), asked=True, denied=0.0, timed=0.25))
    tags = clause_tags(clause, "inverted") | {"yes/no question"}
    return _sentence(english(clause, asked=True), german(clause, "inverted"), "?", tags)


def _ask(word: Pair, clause: Clause) -> Sentence:
    tags = clause_tags(clause, "inverted") | {"wh-question"}
    src, tgt = english(clause, asked=True), german(clause, "inverted")
    return _sentence(f"{word[0]} {src}", f"{word[1]} {tgt}", "?", tags)


def who_question(dice: Dice) -> Sentence:
    plan = Plan(_PERSONAL, past=dice.chance(_PAST), subject=WHO, asked=True, denied=0.0)
    clause = draw_clause(dice, plan)
    return _sentence(english(clause), german(clause), "?", clause_tags(clause, "main"), frozenset({"wh-question"}))


_WITH_OBJECT = tuple(verb for verb in _ACTIONS if verb.frame in ("accusative", "dative") and verb.en != "belong to")


def object_question(dice: Dice) -> Sentence:
    """Who or what; German tells the accusative from the dative."""
    clause = draw_clause(dice, Plan(_WITH_OBJECT, dice.chance(_PAST), without="object", asked=True, denied=0.0))
    if "person" in clause.verb.objects:
        return _ask(("who", WHO.in_case(clause.verb.frame)), clause)
    return _ask(("what", "was"), clause)


def place_question(dice: Dice) -> Sentence:
    verbs = tuple(verb for verb in _ACTIONS if verb.places)
    clause = draw_clause(dice, Plan(verbs, dice.chance(_PAST), without="place", asked=True, denied=0.0, adjectives=0.3))
    return _ask(("where", "wohin" if clause.verb.frame == "motion" else "wo"), clause)


def time_question(dice: Dice) -> Sentence:
    verbs = tuple(verb for verb in _DATED if not verb.complement)
    return _ask(
        ("when", "wann"),
        draw_clause(dice, Plan(verbs, dice.chance(_PAST), without="time", asked=True, denied=0.0)),
    )


def reason_question(dice: Dice) -> Sentence:
    return _ask(("why", "warum"), draw_clause(dice, Plan(_ACTIONS, dice.chance(_PAST), asked=True, denied=0.0)))


def quantity_question(dice: Dice) -> Sentence:
    verbs = tuple(verb for verb in _WITH_OBJECT if verb.frame == "accusative")
    clause = draw_clause(dice, Plan(verbs, dice.chance(_PAST), without="object", asked=True, denied=0.0))
    nouns = [
        n for n in nouns_of(clause.verb.objects) if "#" in DETERMINERS[n.kind] and n.en not in clause.subject.heads
    ]
    if not nouns:
        return _ask(("what", "was"), clause)
    noun = dice.pick(nouns)
    return _ask((f"how many {noun.en_plural}", f"wie viele {noun.de_plural}"), clause)


def _draw_second(dice: Dice, first: Clause, past: bool, timed: float, denied: float) -> Clause:
    """A clause that goes with ``first``: mostly about the same person, never naming anyone again."""
    names = first.subject.heads.union(*(phrase.heads for phrase in first.objects))
    again = PRONOUNS[first.subject.pronoun] if first.subject.pronoun else None
    about = _SIMPLE if dice.chance(0.5) else _JOINED
    plan = Plan(about, past, timed=timed, denied=denied, adjectives=0.1, taken=names, joined=True)
    if again and dice.chance(0.6):
        plan = plan._replace(subject=again, verbs=tuple(verb for verb in about if "person" in verb.subjects))
    if first.verb.en == "hope":
        plan = plan._replace(modals=("can",), verbs=_DATED_PERSONAL)
    plan = plan._replace(verbs=tuple(verb for verb in plan.verbs if verb != first.verb))
    return draw_clause(dice, plan)


def subordination(dice: Dice) -> Sentence:
    """Two clauses, either first; the subordinate one ends in its verb, and the main one inverts after it."""
    past, main_first = dice.chance(_PAST), dice.chance(0.6)
    conjunction, *germans = dice.pick([c for c in SUBORDINATORS if c[2] or not past])
    word = germans[past]
    denied = 0.0 if conjunction == "when" else 0.14
    told = 0.0 if conjunction == "because" and main_first else denied  # what would "not" deny?
    first = draw_clause(dice, Plan(_JOINED, past, timed=0.1, denied=told, adjectives=0.15, joined=True))
    second = _draw_second(dice, first, past, timed=0.0 if first.time else 0.2, denied=denied)
    orders = ("main", "final") if main_first else ("final", "inverted")
    if main_first:
        src = f"{english(first)} {conjunction} {english(second)}"
        tgt = f"{german(first)}, {word} {german(second, 'final')}"
    else:
        src = f"{conjunction} {english(first)}, {english(second)}"
        tgt = f"{word} {german(first, 'final')}, {german(second, 'inverted')}"
    place = "subordinate last" if main_first else "subordinate first"
    tags = frozenset({place, f"conjunction {conjunction}"})
    return _sentence(src, tgt, ".", tags, clause_tags(first, orders[0]), clause_tags(second, orders[1]))


def report(dice: Dice) -> Sentence:
    """Saying, knowing and hoping that; asking whether."""
    verb = VERBS[dice.pick(tuple(REPORTS))]
    past = verb.en in ("say", "ask") and dice.chance(_PAST)
    subject = draw_subject(dice, verb.subjects, taken=frozenset(), adjectives=0.25)
    first = Clause(subject, verb, past=past)
    second = _draw_second(dice, first, past, timed=0.2, denied=0.0 if verb.en == "ask" else 0.14)
    conjunction, word = REPORTS[verb.en]
    src = f"{english(first)} {conjunction} {english(second)}"
    tgt = f"{german(first)}, {word} {german(second, 'final')}"
    tags = frozenset({"reported", f"conjunction {conjunction}"})
    return _sentence(src, tgt, ".", tags, clause_tags(first, "main"), clause_tags(second, "final"))


def coordination(dice: Dice) -> Sentence:
    past = dice.chance(_PAST)
    word = dice.pick(tuple(COORDINATORS))
    first = draw_clause(dice, Plan(_JOINED, past, timed=0.1, denied=0.0, adjectives=0.15, joined=True))
    second = _draw_second(dice, first, past, timed=0.0, denied=0.8 if word == "but" else 0.0)
    comma = "," if word == "but" else ""
    src = f"{english(first)}{comma} {word} {english(second)}"
    tgt = f"{german(first)}{comma} {COORDINATORS[word]} {german(second)}"
    tags = frozenset({"coordination"})
    return _sentence(src, tgt, ".", tags, clause_tags(first, "main"), clause_tags(second, "main"))


_TEMPLATES: tuple[Callable[[Dice], Sentence], ...] = (
    *[statement] * 30,
    *[fronted_statement] * 18,
    *[yes_no_question] * 9,
    *[who_question] * 3,
    *[object_question] * 3,
    *[place_question] * 2,
    *[time_question] * 2,
    *[reason_question] * 2,
    *[quantity_question] * 2,
    *[subordination] * 3,
    report,
    coordination,
)


def draw_sentence(dice: Dice) -> Sentence:
    """One sentence of any kind, with the phenomena it shows."""
    return dice.pick(_TEMPLATES)(dice)


# --- Data sets ---

_MAX_MISSES = 2000


def generate(seed: int, sizes: Mapping[str, int]) -> dict[str, list[Pair]]:
    """Draw data sets that share no source sentence, without duplicates.

    "train" is drawn last and the others in alphabetical order, so its size has no influence on them.

    Raises:
        ValueError: if a size is negative, or if more sentences are asked for than new ones turn up.
    """
    for name, size in sizes.items():
        if size < 0:
            raise ValueError(f"the size of {name} must be 0 or more; got {size}.")
    dice, seen = Dice(seed), set[str]()
    drawn = {
        name: _draw_pairs(dice, name, sizes[name], seen) for name in sorted(sizes, key=lambda n: (n == "train", n))
    }
    return {name: drawn[name] for name in sizes}


def _draw_pairs(dice: Dice, name: str, size: int, seen: set[str]) -> list[Pair]:
    pairs: list[Pair] = []
    misses = 0
    while len(pairs) < size:
        src, tgt, _ = draw_sentence(dice)
        if src not in seen:
            seen.add(src)
            pairs.append((src, tgt))
            misses = 0
            continue
        misses += 1
        if misses == _MAX_MISSES:
            raise ValueError(
                f"{name} asks for {size} sentences, but after {len(pairs)} of them the last {misses} draws "
                "brought no new one; ask for fewer."
            )
    return pairs


def phenomena(seed: int, size: int) -> list[Sentence]:
    """Sentences with tags for the phenomena they show; duplicates are possible."""
    dice = Dice(seed)
    return [draw_sentence(dice) for _ in range(size)]


def count_simple_sentences() -> int:
    """How many sentences of one single shape there are: someone, a verb in the present, a thing.

    A lower bound on all, since every other shape comes on top. Subjects are nouns for people, objects are
    things, so no choice excludes another; and the verb separates the two, so no two choices spell the same.
    """
    subjects = {p.en for noun in nouns_of(VERBS["buy"].subjects) for p in all_noun_phrases(noun, "subject")}
    total = 0
    for verb in VERBS.values():
        if verb.frame == "accusative" and "person" not in verb.objects:
            total += len({p.en for noun in nouns_of(verb.objects) for p in all_noun_phrases(noun, "object")})
    return len(subjects) * total
