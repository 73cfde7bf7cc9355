"""The size of a batch, and what is said where there is not enough memory for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from seq2seq.errors import UserError


class Shape(NamedTuple):
    """The size of a batch. Its memory grows with the sentences times the longest of them."""

    sentences: int
    src_length: int
    tgt_length: int  # while decoding the longest that it may become

    def __str__(self) -> str:
        return f"{self.sentences} sentence(s) x {self.src_length} source and {self.tgt_length} target tokens"


@contextmanager
def enough_memory(shape: Shape, remedy: str, *, single: str) -> Iterator[None]:
    """Turn an out-of-memory error, of a GPU or of the machine, into one that names the batch.

    Raises:
        UserError: as `out_of_memory`, if an allocation fails in the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(shape, remedy, single=single) from None


def out_of_memory(shape: Shape, remedy: str, *, single: str) -> UserError:
    """The error for a batch that was too large.

    Args:
        remedy: which setting makes such batches smaller, and what it is now.
        single: the same for a sentence that is a batch by itself.
    """
    return UserError(f"out of memory with a batch of {shape}; {single if shape.sentences == 1 else remedy}.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed. Torch has a class for it only on GPUs."""
    signs = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")
    named = type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be there
    return named or isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)
