"""Translate lines with a trained model.

The search over token ids is in `seq2seq.decoding.engine`, or in `seq2seq.runtime.engine` for an exported model. Neither
Lightning nor Hydra nor any training file is needed, and torch only for checkpoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from seq2seq.config.schema import DecodeConfig, MetricsConfig
from seq2seq.data.arrays import Tokenizers
from seq2seq.data.sources.base import Source
from seq2seq.data.sources.text import TextSource
from seq2seq.decoding.base import Engine
from seq2seq.errors import UserError
from seq2seq.tokens.base import Tokenizer
from seq2seq.tokens.load import same_pieces
from seq2seq.translate.call import Call
from seq2seq.translate.options import settings
from seq2seq.translate.reading import Reader
from seq2seq.translate.results import Results, Translation

if TYPE_CHECKING:
    from seq2seq.language_model import LanguageModel
    from seq2seq.models.seq2seq import Seq2Seq

WINDOW = 4096  # lines that are sorted by length and decoded together


@dataclass(frozen=True, eq=False, repr=False)
class Translator:
    """A trained model with its tokenizers.

    It gives one output line for each input line, and a blank line for a blank line. A line's translation depends only
    on that line, not on its neighbours, the batch size or the order. Nothing on a translator changes after it is made:
    threads, forked processes and notebook cells can share one.

    Lines are given as a list, a tuple, or an array or Series of strings, and the results come in a `Results` list. One
    string is one line, and its result comes by itself. Anything else is a TypeError.

    Settings go in with a call, as keywords (``beam=5``, or any name of `DecodeConfig`) or all together as ``options``.

    Args:
        engine: the networks.
        decode: the settings of calls that give none.
        metrics: how `evaluate.evaluate` scores the translator.
        source: kind of the lines, as ``engine`` has it too; by default the text of ``tokenizers``.

    Example:
        >>> translator = Translator.from_checkpoint("runs/phrasebook/seed-1")  # doctest: +SKIP
        >>> translator.translate("The dog sleeps.")  # doctest: +SKIP
        'Der Hund schläft.'
        >>> translator.translate(["The dog sleeps.", "Where do you live?"], beam=5)  # doctest: +SKIP
        ['Der Hund schläft.', 'Wo wohnst du?']
    """

    engine: Engine
    tokenizers: Tokenizers
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    source: Source = None  # type: ignore[assignment]
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        fixed_length = self.engine.fixed_length
        source = self.source or TextSource({}, self.tokenizers.src, end_symbol=not fixed_length)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "_reader", Reader(source, self.tokenizers.tgt, fixed_length))

    @classmethod
    def from_checkpoint(
        cls, *paths: str | Path, device: str = "cpu", threads: int | None = None, **changes: Any
    ) -> Translator:
        """Load a checkpoint file, or the best one of a run folder; several with the same tokenizers are an ensemble.

        The first one's decoding settings hold. Forms of decoding (``int8``, ``cuda_graphs``, ``shortlist``) among them
        are left out, with a warning, where this machine does not have them. Those in ``changes`` are refused then.

        Args:
            threads: torch's number of threads while the translator works; 0 leaves it as it is. By default 1 for a
                small network and 0 for others.
            changes: decoding settings in place of the checkpoint's, as in `translate`.

        Raises:
            UserError: for a checkpoint that does not exist, is refused (see `checkpoint.read`), or does not fit the
                first one; for settings as `translate`.
            TypeError: for a name that is not a setting.

        Example:
            >>> Translator.from_checkpoint("runs/phrasebook/seed-1", int8=True, beam=5)  # doctest: +SKIP
        """
        from seq2seq.translate.loading import FORMS, load  # and with it torch, which an exported model does without

        forms = {name: changes.pop(name) for name in FORMS if name in changes}
        found = load(paths, device=device, threads=threads, forms=forms)
        decode = settings(found.decode, None, changes)
        return cls(found.engine, found.tokenizers, decode, found.metrics, found.source)  # type: ignore[arg-type]

    @classmethod
    def from_export(cls, path: str | Path, *, threads: int = 1, **changes: Any) -> Translator:
        """Load a folder that `seq2seq-export` wrote. It needs onnxruntime, and not torch.

        Args:
            threads: threads of a matrix product; 0 takes all processors.
            changes: decoding settings in place of the folder's, as in `translate`.

        Raises:
            UserError: for another or a damaged folder; for settings as `translate`, or that the folder lacks.
            TypeError: for a name that is not a setting.

        Example:
            >>> Translator.from_export("exported").translate("The dog sleeps.")  # doctest: +SKIP
            'Der Hund schläft.'
        """
        from seq2seq.runtime.folder import load

        found = load(Path(path), threads=threads)
        return cls(found.engine, found.tokenizers, settings(found.decode, None, changes), found.metrics)

    def with_options(self, options: DecodeConfig | None = None, **changes: Any) -> Translator:
        """Return a translator with the same networks and other settings for calls that give none."""
        return dataclasses.replace(self, decode=settings(self.decode, options, changes))

    def fuse(self, language_model: LanguageModel, weight: float, *, name: str = "the language model") -> Translator:
        """Return a translator whose searches also use a language model (shallow fusion).

        See `fusion.fuse`. The language model is left in evaluation mode, on this translator's device.

        Args:
            name: of the language model, for messages.

        Raises:
            UserError: if its pieces are not the target's, or the weight is out of range.
        """
        _check_pieces(language_model.tokenizer, self.tokenizers.tgt, name)
        return dataclasses.replace(self, engine=self.engine.fused(language_model.model, weight))

    @overload
    def translate(
        self, lines: str, *, prefixes: str | None = None, options: DecodeConfig | None = None, **changes: Any
    ) -> str: ...

    @overload
    def translate(
        self,
        lines: Sequence[str],
        *,
        prefixes: Sequence[str] | None = None,
        options: DecodeConfig | None = None,
        **changes: Any,
    ) -> Results[str]: ...

    def translate(
        self,
        lines: Sequence[str],
        *,
        prefixes: Sequence[str] | None = None,
        options: DecodeConfig | None = None,
        **changes: Any,
    ) -> str | Results[str]:
        """Translate lines, in any order of length; blank lines come back blank.

        A line longer than ``decode.max_source`` tokens is cut; `bounded.encode` says how far one that is far longer is
        read. A prefix is never cut, and the work grows with its length.

        Args:
            prefixes: the beginning of each translation, "" for none; a blank line's is ignored. The last piece of a
                prefix is complete: the next piece may begin a new word or continue the last one.
            options: decoding settings, in place of all of ``self.decode``.
            changes: single settings, by the names of `DecodeConfig`, or ``beam=N`` for a beam search of size N.

        Raises:
            TypeError: if a line or a prefix is not a string, or for a name that is not a setting.
            ValueError: if a line or a prefix holds a newline, or if there is not one prefix for each line.
            UserError: if a prefix has no room in ``model.fixed_length``, or is endless; if ``decode.copy_unknown`` or
                ``decode.coverage_penalty`` has no attention; for settings out of range or of another search.

        Example:
            >>> translator.translate(lines, beam=5, length_penalty=0.6)  # doctest: +SKIP
            >>> translator.translate("The dog sleeps.", prefixes="Der")  # doctest: +SKIP
            >>> translator.translate(lines, options=DecodeConfig(search="sample", seed=7)).num_cut  # doctest: +SKIP
        """
        found = self._call(options, changes).translate(lines, prefixes)
        return found[0] if isinstance(lines, str) else found

    @overload
    def n_best(
        self,
        lines: str,
        num_best: int,
        *,
        attention: bool = ...,
        prefixes: str | None = ...,
        log_probs: bool = ...,
        options: DecodeConfig | None = ...,
        **changes: Any,
    ) -> list[Translation]: ...

    @overload
    def n_best(
        self,
        lines: Sequence[str],
        num_best: int,
        *,
        attention: bool = ...,
        prefixes: Sequence[str] | None = ...,
        log_probs: bool = ...,
        options: DecodeConfig | None = ...,
        **changes: Any,
    ) -> Results[list[Translation]]: ...

    def n_best(
        self,
        lines: Sequence[str],
        num_best: int,
        *,
        attention: bool = False,
        prefixes: Sequence[str] | None = None,
        log_probs: bool = True,
        options: DecodeConfig | None = None,
        **changes: Any,
    ) -> list[Translation] | Results[list[Translation]]:
        """Find several translations of each line, the best first; a blank line has none.

        A beam gives the ``num_best`` best texts that it holds, or fewer. They are all different: of a text with several
        segmentations the likeliest is taken. Sampling gives ``num_best`` draws by log-probability, which may be equal;
        greedy search has one.

        Args:
            num_best: at least 1, and at most the beam's size.
            attention: keep the weights, where the model has attention.
            log_probs: False leaves ``log_prob`` NaN after `fuse`, which saves a further pass over the outputs.
            prefixes, options, changes: as for `translate`.

        Raises:
            TypeError, UserError: as `translate`.
            ValueError: as `translate`, or if ``num_best`` is out of range.

        Example:
            >>> [each.text for each in translator.n_best("Good morning!", 2, beam=5)]  # doctest: +SKIP
            ['Guten Morgen!', 'Guten Tag!']
        """
        call = self._call(options, changes)
        found = call.n_best(lines, num_best, prefixes, attention=attention, log_probs=log_probs)
        return found[0] if isinstance(lines, str) else found

    @overload
    def score(
        self, src: str, tgt: str, *, attention: bool = ..., options: DecodeConfig | None = ..., **changes: Any
    ) -> Translation: ...

    @overload
    def score(
        self,
        src: Sequence[str],
        tgt: Sequence[str],
        *,
        attention: bool = ...,
        options: DecodeConfig | None = ...,
        **changes: Any,
    ) -> Results[Translation]: ...

    def score(
        self,
        src: Sequence[str],
        tgt: Sequence[str],
        *,
        attention: bool = False,
        options: DecodeConfig | None = None,
        **changes: Any,
    ) -> Translation | Results[Translation]:
        """Score given translations by teacher forcing. Scores equal those of `n_best` for the same segmentation.

        A blank translation of a blank line has log-probability 0 and no pieces; the model is not asked. Lines longer
        than ``decode.max_source`` are cut, as for `translate`; the given translations are not.

        Args:
            attention: keep the weights, where the model has attention.
            options, changes: as for `translate`.

        Raises:
            TypeError, ValueError, UserError: as `translate`; UserError also if a translation is endless, or
                ``model.fixed_length`` does not allow a pair.

        Example:
            >>> translator.score("The dog sleeps.", "Der Hund schläft.").log_prob  # doctest: +SKIP
            -0.0174
        """
        found = self._call(options, changes).score(src, tgt, attention=attention)
        return found[0] if isinstance(src, str) else found

    def nll(
        self,
        src: Sequence[str],
        tgt: Sequence[str],
        *,
        warn: bool = True,
        options: DecodeConfig | None = None,
        **changes: Any,
    ) -> tuple[float, int]:
        """The negative log-likelihood of given translations, in nats, and the number of tokens that it sums over.

        The model is asked for all pairs, also for those with a blank source, as in training. Long lines are cut, as in
        `score`. A language model has no say: fused scores are not a likelihood. Two strings are one pair.

        Args:
            warn: log a warning of each line that is cut.
            options, changes: as for `translate`.

        Raises:
            TypeError, ValueError, UserError: as `score`.
        """
        return self._call(options, changes).nll(src, tgt, warn=warn)

    @property
    def model(self) -> Seq2Seq:
        """The network, of an ensemble the first one. An exported model is refused with a `UserError`."""
        if not self.engine.models:
            raise UserError("an exported model has no network to look into; use the checkpoint.")
        return self.engine.models[0]

    @property
    def normalization(self) -> str:
        """The Unicode form of inputs and outputs; "none" leaves text unchanged."""
        return self.tokenizers.src.normalization

    def _call(self, options: DecodeConfig | None, changes: Mapping[str, Any]) -> Call:
        decode = settings(self.decode, options, changes)
        return Call(self.engine, self.source, self.tokenizers.tgt, self._reader, decode)


def _check_pieces(tokenizer: Tokenizer, wanted: Tokenizer, name: str) -> None:
    """Refuse a language model whose pieces are not the target's."""
    if not same_pieces(tokenizer, wanted):
        raise UserError(
            f"{name} has other pieces than the translator's target side ({len(tokenizer)} and {len(wanted)}); train it "
            "with tokenizer.like= and the translator's run."
        )
