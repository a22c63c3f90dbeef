"""
The pointing of visits, by one band
===================================

The stars of F300M tell by how much the pointing of each visit is off; what they tell holds for
every band.
"""

# %%
# A field in two bands, four visits in a mosaic of two by two tiles, with pointing errors of 0.3 to
# 1 arcsec.

import tempfile
from pathlib import Path

from webbalign.pipelines import apply_wcs_adjust, get_wcs_adjust
from webbalign.reports.adjust_figure import draw_adjust
from webbalign.reports.wcs_adjust import adjust_text
from webbalign.simulate import MosaicSimulation, simulate_mosaic

folder = Path(tempfile.mkdtemp())
options = MosaicSimulation(
    bands=("F300M", "F335M"),
    visits=4,
    dithers=2,
    tiles=(2, 2),
    tile_overlap=0.4,
    size=256,
    star_density=2500,
    magnitudes=(16, 22),
)
made = simulate_mosaic(folder / "field", options)

# %%
# Measured in one band ...

table = get_wcs_adjust({"F300M": made.files["F300M"]}, target="field", output_dir=folder)
print(adjust_text(table, exposures=False))

# %%
# The footprints as they came, the shift of each visit (arrow) and its error (ellipse), each with a
# scale of its own.

shown = [draw_adjust(table, folder / "adjust.png")]

# %%
# ... and applied to the other.

corrected = apply_wcs_adjust(table, made.files["F335M"], output_dir=folder / "corrected")
