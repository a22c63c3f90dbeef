"""
A mosaic on Gaia's frame
========================

Two visits of two dithers, with pointing errors of 0.3 to 1 arcsec, are aligned by their stars with
one another and with a catalog like Gaia's.
"""

# %%
# Small images of a dense field. What was put in is known.

import tempfile
from pathlib import Path

from astropy.table import Table

from webbalign.products.alignment_products import alignment_products
from webbalign.reports.alignment import alignment_text
from webbalign.reports.alignment_page import report_alignment
from webbalign.simulate import MosaicSimulation, simulate_mosaic
from webbalign.steps import TweakRegStep

folder = Path(tempfile.mkdtemp())
options = MosaicSimulation(
    bands=("F300M",), dithers=2, size=256, star_density=2500, magnitudes=(16, 22), gaia_limit=22
)
made = simulate_mosaic(folder, options)
truth = Table.read(made.truth)
for row in truth:
    print(row["filename"], f"{row['xshift']:+.4f}, {row['yshift']:+.4f} arcsec")

# %%
# The alignment: one status, one correction and its error for each image.

output = folder / "out"
step = TweakRegStep(abs_refcat=str(made.gaia), output_dir=str(output), save_results=True)
images = step.run(str(made.association))
print(alignment_text(step.solution))

# %%
# The report, with the pictures in a folder beside it.

products = alignment_products(output / "tweakreg_solution.ecsv")
page, *files = report_alignment(products)
figures = {path.stem: path for path in files if path.suffix == ".png"}

# %%
# The footprints as they came, and as they are.

shown = [figures["footprints"]]

# %%
# The shift of each exposure, with its error.

shown = [figures["shifts"]]

# %%
# What is left of the stars of one image, enlarged.

shown = [figures[min(name for name in figures if name.startswith("image_"))]]

# %%
# A few stars, stacked from all images before and after.

shown = [figures["stacks"]]

# %%
# What is left between every two exposures, in units of its error.

shown = [figures["closures"]]
