"""Clauses in English."""

from __future__ import annotations

from seq2seq.data.corpora.phrasebook.inflection import third_person
from seq2seq.data.corpora.phrasebook.phrases import Clause, join


def english_verb(clause: Clause, asked: bool) -> tuple[str, str]:
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
        return finite, join("not" if clause.negated else "", base)
    if clause.past:
        return past, ""
    first, _, rest = base.partition(" ")
    return join(third_person(first) if third else first, rest), ""


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
    return join(*start, *ends)
