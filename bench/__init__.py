"""Compare seq2seq with plain torch loops that do the same work: ``python -m bench --help``."""
