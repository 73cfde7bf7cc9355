"""What seq2seq costs and reaches, beside plain torch loops that do the same work: ``python -m bench --help``."""
