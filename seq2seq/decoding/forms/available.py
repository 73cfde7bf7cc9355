"""Choose the form for decoding a network, and check which forms are available."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from seq2seq.config.schema import DecodeConfig
from seq2seq.decoding.forms.base import Form
from seq2seq.decoding.forms.cpu import CpuForm, is_known, why_not
from seq2seq.decoding.forms.module import GraphForm, ModuleForm
from seq2seq.decoding.forms.products import require_int8
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import UserError
from seq2seq.models.seq2seq import Seq2Seq

log = logging.getLogger(__name__)

GRAPHED = ("cuda",)  # kinds of devices that record graphs
FORMS = ("int8", "cuda_graphs", "shortlist")  # keys of decode


def build_form(model: Seq2Seq, *, int8: bool = False, cuda_graphs: bool = False) -> Form:
    """Make the fastest form of a network: CUDA graphs if requested, CPU form, or module.

    One line in the log says where a network on a CPU has no CPU form. Call `check_form` before.
    """
    if cuda_graphs:
        return GraphForm(model)
    reason = why_not(model)
    if reason is None:
        return CpuForm(model, int8=int8)
    if next(model.parameters()).device.type == "cpu":
        _say_once(f"This network is decoded by its module's own step, which is slower than the CPU form: {reason}.")
    return ModuleForm(model)


@functools.cache
def _say_once(message: str) -> None:
    log.info(message)


def check_form(decode: DecodeConfig, model: Seq2Seq, device: str) -> None:
    """Refuse settings that a network cannot be decoded with.

    Args:
        device: the kind of device that it is decoded on, ``cpu`` or ``cuda``. The model itself may still be on another.

    Raises:
        UserError: if ``decode.int8`` or ``decode.shortlist`` needs the CPU form and the network has none, or if
            ``decode.cuda_graphs`` needs a GPU.
    """
    if decode.cuda_graphs and device not in GRAPHED:
        raise UserError(
            f"decode.cuda_graphs is for networks on a GPU, and this one is on {device}; use a GPU, or "
            "decode.cuda_graphs=false."
        )
    for name, asked in (("int8", decode.int8), ("shortlist", decode.shortlist)):
        if asked and not (device == "cpu" and is_known(model)):
            raise UserError(
                f"decode.{name} is for networks on the CPU, of torch's own recurrent layers; use decode.{name}=false."
            )


def check_shortlist(shortlist: Shortlist | None) -> None:
    """Refuse to decode with a missing shortlist.

    Raises:
        UserError: if it is None.
    """
    if shortlist is None:
        raise UserError(
            "decode.shortlist: this checkpoint has none; train with trainer.shortlist=10, or use "
            "decode.shortlist=false."
        )


def usable(
    decode: DecodeConfig,
    models: Sequence[Seq2Seq],
    *,
    shortlist: Shortlist | None,
    asked: Mapping[str, bool],
    name: str,
) -> DecodeConfig:
    """Return a checkpoint's decoding settings without unavailable forms, with a warning for each.

    A checkpoint keeps the settings of its training, which may have been on another machine.

    Args:
        models: on the device that they are decoded on.
        asked: forms that the user asked for or ruled out. They replace the checkpoint's and are not changed, so that
            decoding refuses a missing one.
        name: the checkpoint's, for the warning.
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
    """Why a form is unavailable, as in the refusal; None if it is available."""
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
