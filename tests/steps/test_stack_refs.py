import numpy as np
import pytest

from webbalign.core.errors import InputError
from webbalign.products import models
from webbalign.steps import StackRefsStep
from webbalign.steps.stack_refs import exposure_of_references


def test_all_integrations_in_order(folder, sequence):
    files = [str(folder / name) for name in sequence.psf]
    stack = StackRefsStep.call(files, configure_log=False)
    cubes = [models.open_cube(file) for file in files]
    assert stack.shape == (15, 80, 80)
    for name in ("data", "err", "dq"):
        expected = np.concatenate([getattr(cube, name) for cube in cubes])
        np.testing.assert_array_equal(getattr(stack, name), expected)
    assert stack.meta.cal_step.stack_psfs == "COMPLETE"


def test_an_association_stands_for_its_psf_members(folder, sequence):
    stack = StackRefsStep.call(str(sequence.association), configure_log=False)
    assert stack.shape[0] == 15


def test_origin_of_each_image_is_kept(stack):
    table = models.extension(stack, "PSFSRC")
    assert table["integration"].tolist() == [0, 1, 2] * 5
    assert exposure_of_references(stack, 15).tolist() == [i // 3 for i in range(15)]
    assert exposure_of_references(stack, 4).tolist() == [0, 1, 2, 3]


def test_other_sizes_are_refused_with_both_names(folder, sequence):
    cubes = [models.open_cube(folder / name) for name in sequence.psf[:2]]
    cubes[1].data = cubes[1].data[:, :70]
    cubes[1].err = cubes[1].err[:, :70]
    cubes[1].dq = cubes[1].dq[:, :70]
    with pytest.raises(InputError, match="80 x 70.*80 x 80") as error:
        StackRefsStep.call(cubes, configure_log=False)
    assert sequence.psf[0] in str(error.value)
    assert sequence.psf[1] in str(error.value)
    with pytest.raises(InputError, match="no PSF exposures"):
        StackRefsStep.call([], configure_log=False)


def test_gathered_one_by_one_is_the_stack_of_all(folder, sequence):
    stack = StackRefsStep.call([str(folder / name) for name in sequence.psf], configure_log=False)
    cubes = [models.open_cube(folder / name) for name in sequence.psf]
    step = StackRefsStep()
    gathered = step.gather((15, 80, 80))
    for cube in cubes:
        gathered.add(cube.meta.filename, cube)
    found = step.process(gathered)
    for name in ("data", "err", "dq"):
        np.testing.assert_array_equal(getattr(found, name), getattr(stack, name))
    np.testing.assert_array_equal(
        models.extension(found, "PSFSRC")["integration"],
        models.extension(stack, "PSFSRC")["integration"],
    )
    assert found.meta.wcsinfo.crpix1 == cubes[0].meta.wcsinfo.crpix1
