"""Measure the start of a training on a corpus of any size: ``python -m bench.corpus FOLDER PAIRS``.

The corpus is made first if it is missing. Its text repeats the same lines, because their order does not matter here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import work
from seq2seq.config.schema import ModelConfig

BLOCK = 10_000  # pairs that are drawn


def make(root: Path, pairs: int) -> work.Prepared:
    """A dataset as `prepare` and `encode_corpus` make it, but faster for many lines."""
    from seq2seq.data.arrays import encode_corpus, token_path

    small = work.make(root / "small", ModelConfig(hidden_size=256, embedding_size=128), pairs=BLOCK, vocab=4000)
    config = dataclasses.replace(small.config, trainer=dataclasses.replace(small.config.trainer, max_steps=1))
    folder = root / f"pairs-{pairs}"
    if not (folder / "ready").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for split in ("valid", "test"):
            for side in ("src", "tgt"):
                shutil.copy(small.folder / f"{split}.{side}", folder)
        arrays = encode_corpus(small.folder, "train", small.tokenizers)
        for side, array, tokenizer in zip(("src", "tgt"), arrays, small.tokenizers, strict=True):
            block = (small.folder / f"train.{side}").read_bytes()
            with open(folder / f"train.{side}", "wb") as stream:
                for _ in range(pairs // BLOCK):
                    stream.write(block)
            path = token_path(folder / f"train.{side}", tokenizer)
            with open(f"{path}.ids", "wb") as stream:
                for _ in range(pairs // BLOCK):
                    stream.write(np.asarray(array.ids).tobytes())
            with open(f"{path}.offsets", "wb") as stream:
                starts = np.arange(pairs // BLOCK, dtype="<i8") * int(array.offsets[-1])
                for start in starts:
                    stream.write((array.offsets[:-1] + start).astype("<i8").tobytes())
                stream.write(np.array([(pairs // BLOCK) * int(array.offsets[-1])], "<i8").tobytes())
        (folder / "ready").touch()
    return small._replace(config=config, folder=folder)


def main(root: Path, pairs: int) -> None:
    started = time.perf_counter()
    prepared = make(root, pairs)
    made, processor = time.perf_counter(), time.process_time()
    from seq2seq.training.callbacks import Stopwatch
    from seq2seq.training.fit import fit

    class FirstStep(Stopwatch):
        """Ends the process after the first step."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seconds = {
                "start to first step": time.perf_counter() - made,
                "of it the processor's": time.process_time() - processor,
            }
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({"seconds": seconds, "peak_mb": peak}), flush=True)
            os._exit(0)

    fit(prepared.config, root / f"run-{started}", prepared.folder, prepared.tokenizers, FirstStep())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
