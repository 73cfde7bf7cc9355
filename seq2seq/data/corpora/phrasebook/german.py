"""Clauses and prepositional phrases in German."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seq2seq.data.corpora.phrasebook.inflection import PRETERITE, conjugate, person_cell
from seq2seq.data.corpora.phrasebook.phrases import Clause, Phrase, join

_CONTRACTIONS = {"in dem": "im", "an dem": "am", "zu dem": "zum", "zu der": "zur"}


def prepositional(preposition: str, phrase: Phrase, case: str) -> str:
    """A German prepositional phrase, contracted where German contracts: "im Garten", "zur Bibliothek"."""
    words = [preposition, *phrase.in_case(case).split()]
    contracted = _CONTRACTIONS.get(" ".join(words[:2]))
    return " ".join([contracted, *words[2:]] if contracted else words)


def verb_bracket(clause: Clause) -> tuple[str, str, str]:
    """The finite verb, the closing part if it stands second, and both together if it stands last."""
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
    """The parts between the finite verb and the end, without the subject and the pronouns.

    Receivers come first, known things before new ones, time before place, and "nicht" before whatever it
    denies most closely: a place, a state, the end.
    """
    placed = clause.verb.frame in ("auf", "mit")
    objects = [] if placed else list(zip(clause.objects, object_cases(clause), strict=True))
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


def object_cases(clause: Clause) -> Sequence[str]:
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
        pairs = zip(clause.objects, object_cases(clause), strict=True)
        pronouns = [phrase.in_case(case) for phrase, case in pairs if phrase.definiteness == "pronoun"]
    middle = _german_middle(clause)
    if order == "final":
        return join(subject, *pronouns, *middle, final)
    if order == "main":
        return join(subject, finite, *pronouns, *middle, closing)
    if clause.subject.definiteness == "pronoun" or "sie" in pronouns:  # which would look like the subject
        return join(finite, subject, *pronouns, *middle, closing)
    return join(finite, *pronouns, subject, *middle, closing)
