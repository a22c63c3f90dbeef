import pytest

from webbalign.core.errors import OptionError
from webbalign.steps._fitting import BLOCK
from webbalign.steps._memory import cut
from webbalign.steps._runtime import Runtime

NPIX = 320 * 320


def test_what_fits_is_kept_in_memory():
    assert cut(Runtime(memory="4GB"), 90, NPIX).in_memory
    assert cut(Runtime(memory="4GB"), 90, NPIX).block == BLOCK
    assert not cut(Runtime(memory="1GB", workers=1), 900, NPIX).in_memory
    # of the criterion: a tenfold stack under the same bound
    assert not cut(Runtime(memory="2GB", workers=2, shares_memory=False), 1800, NPIX).in_memory


def test_less_memory_means_smaller_blocks():
    bounds = ["2GB", "1.6GB", "1.3GB", "1.25GB", "1.2GB", "1.15GB"]
    runtimes = [Runtime(memory=bound, workers=2, shares_memory=False) for bound in bounds]
    cuts = [cut(runtime, 180, NPIX) for runtime in runtimes]
    outside = [found.block for found in cuts if not found.in_memory]
    assert outside == sorted(outside, reverse=True)
    assert outside[0] > outside[-1] >= 1


@pytest.mark.parametrize("shares_memory", [True, False])
def test_a_bound_that_cannot_be_met_says_what_is_needed(shares_memory):
    runtime = Runtime(memory="500MB", workers=4, shares_memory=shares_memory)
    with pytest.raises(OptionError, match=r"'memory' is 0.50 GB.*4 workers.*at least") as error:
        cut(runtime, 90, NPIX)
    least = float(str(error.value).split("at least ")[1].split()[0])
    cut(Runtime(memory=int((least + 0.01) * 1e9), workers=4, shares_memory=shares_memory), 90, NPIX)
