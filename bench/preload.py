"""The modules that `bench.forked` loads before it forks, after setting variables of torch and OpenMP."""

import os

from seq2seq.cli.common import set_up

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
set_up()

import bench.plain  # noqa: E402
import bench.scaling  # noqa: E402, F401
import seq2seq.training.experiment  # noqa: E402, F401
