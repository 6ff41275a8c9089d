"""Freed memory is kept, so that the system need not clear it again; what the user has set stays."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from tim_plugin.utils.allocator import SETTINGS, keep_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GNU's C library alone has these settings")
FAULTS = """
import json, resource
import numpy as np
from tim_plugin.utils.allocator import keep_freed_memory
def faults(count=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        np.ones(2**22)  # 32 MiB, and freed
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(2)
print(json.dumps([faults(), keep_freed_memory(), faults(2) and 0, faults()]))
"""


def test_freed_memory_is_used_again_without_new_pages(monkeypatch):
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=60)
    before, is_kept, _, after = json.loads(done.stdout)
    assert is_kept and after < before / 10


@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_user_has_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "")
    assert keep_freed_memory() is False
