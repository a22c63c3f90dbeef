"""However the work is cut up and wherever it is done, the results are the same to the bit."""

import pickle

import numpy as np
import pytest

from webbalign.products import models
from webbalign.products.atomic import PARTIAL
from webbalign.steps import AlignRefsStep, KlipStep, StackRefsStep
from webbalign.steps import _memory as memory
from webbalign.steps._fitting import fit_blocks
from webbalign.steps._subtracting import blocks_of, parts_of


def elsewhere(function, items):
    """Map as other processes would: everything sent there and back."""
    for item in items:
        there, what = pickle.loads(pickle.dumps((function, item)))
        yield pickle.loads(pickle.dumps(there(what)))


CUTS = {
    "in this process": {},
    "elsewhere": {"map": elsewhere, "workers": 3, "shares_memory": False},
    "threads": {"executor": "threads", "workers": 2},
    "small blocks": {"cut": memory.Cut(False, 1)},
    "small blocks elsewhere": {
        "map": elsewhere, "workers": 2, "shares_memory": False, "cut": memory.Cut(False, 2),
    },
}  # fmt: skip


@pytest.fixture
def mask():
    weight = np.ones((80, 80), "f4")
    weight[36:44, 36:44] = 0
    return models.ImageModel(weight)


@pytest.fixture
def run(science, stack, mask, tmp_path, monkeypatch):
    stack.dq[3, 20:23, 20] |= models.DO_NOT_USE
    science.data[1, 50, 50] = np.nan

    def run(how, **options):
        words = dict(CUTS[how])
        if "cut" in words:
            chosen = words.pop("cut")
            for module in ("align_refs", "klip"):
                monkeypatch.setattr(f"webbalign.steps.{module}.cut", lambda *_: chosen)
        klip = options.pop("klip", {})
        common = {"configure_log": False, "output_dir": str(tmp_path), **words}
        target = science.copy()
        aligned = AlignRefsStep.call(target, stack, override_psfmask=mask, **options, **common)
        return aligned, KlipStep.call(target, aligned, save_psf_model=True, **klip, **common)

    return run


def arrays(aligned, subtracted):
    return [
        aligned.data, aligned.err, aligned.dq, models.extension(aligned, "SHIFTS"),
        subtracted.data, subtracted.err, subtracted.dq,
        models.extension(subtracted, "VAR_COMMON"), models.extension(subtracted, "VAR_SPECKLE"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"save_psfalign": True},
        {"save_psfalign": False},
        {"align_to": "first"},
        {"align_to": "mean", "klip": {"bad_pixels": "keep", "err_method": "std_of_refs"}},
    ],
    ids=["each", "each, not saved", "first", "mean"],
)
def test_the_way_it_is_cut_up_changes_no_bit(run, tmp_path, options):
    expected = [a.tobytes() for a in arrays(*run("in this process", **options))]
    for how in list(CUTS)[1:]:
        found = arrays(*run(how, **options))
        assert [a.tobytes() for a in found] == expected, how
    hidden = tmp_path / PARTIAL
    # a product that is not saved yet may lie there, but nothing that was needed on the way
    assert not list(hidden.rglob("*.raw"))


def test_a_stack_in_a_file_is_the_same(folder, sequence, stack, tmp_path, monkeypatch):
    files = [str(folder / name) for name in sequence.psf]
    expected = StackRefsStep.call(files, configure_log=False)
    monkeypatch.setattr("webbalign.steps.stack_refs.cut", lambda *_: memory.Cut(False, 1))
    found = StackRefsStep.call(files, configure_log=False, output_dir=str(tmp_path))
    for name in ("data", "err", "dq"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()


@pytest.mark.parametrize("n", [1, 2, 7, 20, 61, 1000])
def test_all_integrations_are_in_one_block(n):
    def covered(blocks):
        return np.concatenate([np.arange(n)[block] for block in blocks]).tolist()

    assert covered(parts_of(n)) == list(range(n))
    assert covered(blocks_of(n)) == list(range(n))
    for workers in (1, 2, 5):
        for most in (1, 3, 8):
            blocks = fit_blocks(0, n, workers, most)
            assert covered(blocks) == list(range(n))
            sizes = [block.stop - block.start for block in blocks]
            assert max(sizes) <= most
            assert max(sizes) - min(sizes) <= 1
            assert len(blocks) % workers == 0 or len(blocks) == n
