"""Imported before PyTorch: the tests compute with the vectors that the recorded figures were made with.

Wider ones add in another order, and a short training by them drifts away.
"""

import os
from pathlib import Path

FACTS = Path("/proc/cpuinfo")

if FACTS.is_file() and "avx512" in FACTS.read_text():
    os.environ.setdefault("ATEN_CPU_CAPABILITY", "avx2")
    os.environ.setdefault("DNNL_MAX_CPU_ISA", "AVX2")
