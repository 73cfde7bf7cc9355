"""Forms of decoding (8-bit weights, a shortlist, CUDA graphs), and where each is available."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from seq2seq.config.schema import DecodeConfig
from seq2seq.decoding.forms.cpu import is_known
from seq2seq.decoding.forms.products import require_int8
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.models.seq2seq import Seq2Seq

log = logging.getLogger(__name__)

GRAPHED = ("cuda",)  # kinds of devices that record graphs
FORMS = ("int8", "cuda_graphs", "shortlist")  # keys of decode


def check_form(decode: DecodeConfig, model: Seq2Seq, device: str) -> None:
    """Refuse what a network cannot be decoded with.

    Args:
        device: the kind of the one that it is decoded on, ``cpu`` or ``cuda``; the model itself may be on another yet.

    Raises:
        UserError: if ``decode.int8`` or ``decode.shortlist`` asks for an inference form and there is none, or
            ``decode.cuda_graphs`` for graphs.
    """
    if decode.cuda_graphs and device not in GRAPHED:
        raise UserError(
            f"decode.cuda_graphs (--cuda-graphs) is for networks on a GPU, and this one is on {device}; use a GPU, or "
            "leave it out (--no-cuda-graphs)."
        )
    for name, asked in (("int8", decode.int8), ("shortlist", decode.shortlist)):
        if asked and not (device == "cpu" and is_known(model)):
            raise UserError(
                f"decode.{name} (--{name}) is for networks on the CPU, of torch's own recurrent layers; leave it out "
                f"(--no-{name})."
            )


def check_shortlist(shortlist: Shortlist | None) -> None:
    """Refuse to decode with a shortlist that was not learnt.

    Raises:
        UserError: if there is none.
    """
    if shortlist is None:
        raise UserError(
            "decode.shortlist (--shortlist): this checkpoint has none; train with trainer.shortlist=10, or use "
            "--no-shortlist."
        )


def usable(
    decode: DecodeConfig,
    models: Sequence[Seq2Seq],
    *,
    shortlist: Shortlist | None,
    asked: Mapping[str, bool],
    name: str,
) -> DecodeConfig:
    """Return a checkpoint's decoding settings without the forms that are not available here, each with a warning.

    A checkpoint keeps the settings of its training, which may have been on another machine.

    Args:
        models: on the device that they are decoded on.
        asked: forms that are asked for or ruled out here: those take the place of the checkpoint's, and stay as they
            are, so that decoding refuses what is missing.
        name: of the checkpoint, for the warning.
    """
    changed: dict[str, Any] = dict(asked)
    for form in FORMS:
        if getattr(decode, form) and form not in asked:
            problem = _problem(form, models, shortlist)
            if problem is not None:
                log.warning("%s was trained with decode.%s=true, which is left out here: %s", name, form, problem)
                changed[form] = False
    return dataclasses.replace(decode, **changed)


def _problem(form: str, models: Sequence[Seq2Seq], shortlist: Shortlist | None) -> str | None:
    """What is missing for a form, as the refusal says it; None if it is available."""
    wanted: dict[str, Any] = {form: True}
    try:
        for model in models:
            check_form(DecodeConfig(**wanted), model, next(model.parameters()).device.type)
        if form == "int8":
            require_int8()
        if form == "shortlist":
            check_shortlist(shortlist)
    except UserError as error:
        return str(error).split(";")[0].rstrip(".") + "."
    return None
