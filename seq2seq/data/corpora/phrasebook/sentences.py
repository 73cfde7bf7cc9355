"""Sentence templates: statements, questions and joined clauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from seq2seq.data.corpora.phrasebook.drawing import Dice, Plan, draw_clause, draw_subject, nouns_of
from seq2seq.data.corpora.phrasebook.english import english
from seq2seq.data.corpora.phrasebook.german import german, object_cases
from seq2seq.data.corpora.phrasebook.lexicon import COORDINATORS, DETERMINERS, REPORTS, SUBORDINATORS, VERBS
from seq2seq.data.corpora.phrasebook.phrases import PRONOUNS, WHO, Clause


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
    cases = [] if clause.verb.frame in ("auf", "mit") else object_cases(clause)
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

_JOINED = tuple(verb for verb in _ACTIONS if verb.en != "belong to")  # verbs of joined clauses

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
    """Whether a clause has only a subject and a verb."""
    more = (clause.state, clause.place, clause.other, clause.time, clause.modal, clause.negated)
    return not (clause.objects or any(more))


def fronted_statement(dice: Dice) -> Sentence:
    """A time adverbial in front: English keeps its order, German inverts."""
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


def _ask(word: tuple[str, str], clause: Clause) -> Sentence:
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
