"""These tests need the packages of the extra `export`, which `make install` brings."""

from __future__ import annotations

import importlib.util

if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
    collect_ignore_glob = ["test_*.py"]
