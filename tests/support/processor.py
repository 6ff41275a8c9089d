"""Imported before PyTorch: the tests compute with the vectors that the recorded figures were made with.

Wider ones add in another order, and a short training by them drifts away.
"""

import os
from pathlib import Path

FACTS = Path("/proc/cpuinfo")
_TEXT = FACTS.read_text() if FACTS.is_file() else ""

IS_INTEL = "GenuineIntel" in _TEXT
if IS_INTEL:  # else its matrix products are added up in an order that depends on how many rows there are
    os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
if "avx512" in _TEXT:
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
    os.environ.setdefault("DNNL_MAX_CPU_ISA", "AVX2")
