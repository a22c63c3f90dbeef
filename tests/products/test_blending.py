import numpy as np
import pytest
from stdatamodels.jwst.datamodels import ImageModel

from webbalign.products import models
from webbalign.products.blending import blend_headers, header_table


@pytest.fixture
def exposures(sequence):
    return [models.open_cube(sequence.association.parent / name) for name in sequence.science]


def test_each_keyword_by_the_rule_of_the_schema(exposures):
    result = ImageModel(np.zeros((3, 3), "f4"))
    blend_headers(result, exposures)
    times = [model.meta.exposure for model in exposures]
    blended = result.meta.exposure
    assert blended.start_time == min(time.start_time for time in times)
    assert blended.end_time == max(time.end_time for time in times)
    total = sum(time.effective_exposure_time for time in times)
    assert blended.effective_exposure_time == pytest.approx(total)
    assert result.meta.instrument.filter == exposures[0].meta.instrument.filter
    assert result.meta.model_type == "ImageModel"


def test_one_row_per_exposure(exposures):
    table = header_table(exposures)
    assert len(table) == 2
    names = [model.meta.filename.encode() for model in exposures]
    assert table["FILENAME"].tolist() == names
    assert table["ROLL_REF"].tolist() == [model.meta.wcsinfo.roll_ref for model in exposures]


def test_blended_image_is_saved_and_valid(exposures, tmp_path):
    result = ImageModel(np.zeros((3, 3), "f4"))
    blend_headers(result, exposures)
    again = ImageModel(str(models.save(result, tmp_path / "x_i2d.fits")))
    again.validate()
    assert len(models.extension(again, "HDRTAB")) == 2
