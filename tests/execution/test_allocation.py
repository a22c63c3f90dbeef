import sys

import numpy as np
import pytest

from webbalign.execution.allocation import freed_memory_kept


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize("bound", [None, 10**9])
def test_memory_is_kept_during_a_run_and_handed_back_after_it(bound):
    with freed_memory_kept(bound):
        np.ones(10_000_000)
        during = _resident()
    after = _resident()
    if bound is None:
        assert during - after > 60e6
    else:
        assert abs(during - after) < 30e6


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
