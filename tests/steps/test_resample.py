import logging

import numpy as np

from webbalign.simulate import CoronSimulation, simulate_coron3
from webbalign.steps import ResampleStep


def test_rolls_whose_wcs_disagree_about_the_star_are_named(tmp_path, caplog):
    options = CoronSimulation(
        nints=1, ref_nints=1, ref_dithers=1, shape=(48, 48), wavelengths=1, wcs_error=100.0
    )
    names = simulate_coron3(tmp_path, options).science
    files = [str(tmp_path / name) for name in names]
    with caplog.at_level(logging.WARNING):
        ResampleStep.call(files, configure_log=False)
    (message,) = [text for text in caplog.messages if "by their WCS" in text]
    assert names[0] in message
    assert names[1] in message
    caplog.clear()
    ResampleStep.call(files, combine_on="star", configure_log=False)
    assert not [text for text in caplog.messages if "by their WCS" in text]


def test_rolls_whose_wcs_agree_are_combined_without_a_word(sequence, caplog):
    folder = sequence.association.parent
    image = ResampleStep.call(
        [str(folder / name) for name in sequence.science], configure_log=False
    )
    assert np.isfinite(image.data).any()
    assert not [text for text in caplog.messages if "by their WCS" in text]
