"""
A companion beside a star
=========================

A small NIRCam sequence is simulated, its starlight is subtracted, and the report shows what is
left: a companion of contrast 1e-4 at 0.8 arcsec.
"""

# %%
# Two rolls of a star behind a coronagraph, and nine dithers of a reference star. The answer lies
# beside them.

import json
import tempfile
from pathlib import Path

from webbalign.pipelines.coron3 import run
from webbalign.products.coron_products import coron_products
from webbalign.reports.coron3_page import report_coron3
from webbalign.simulate import CoronSimulation, simulate_coron3

folder = Path(tempfile.mkdtemp())
options = CoronSimulation(nints=4, ref_nints=2, shape=(96, 96), wavelengths=1)
sequence = simulate_coron3(folder, options)
companion = json.loads(sequence.truth.read_text())["companion"]
print(companion)

# %%
# The whole way from exposures to the combined image, and its report.

finished = run(sequence.association, output_dir=folder / "out")
products = coron_products(finished.model_path)
page, *files = report_coron3(products, marks=[(companion["ra"], companion["dec"])])
figures = {path.stem: path for path in files if path.suffix == ".png"}

# %%
# The combined image, north up. The circle marks where the companion was put.

shown = [figures["combined"]]

# %%
# How much each pixel stands out of its error.

shown = [figures["significance"]]

# %%
# What was subtracted: the rms in rings before (dotted) and after, for each roll.

shown = [figures["rms"]]

# %%
# The faintest companion that would stand out at 5 sigma, with the statistics of small samples.

shown = [figures["contrast"]]

# %%
# How far each reference lies from the science images, with the errors of the fits.

shown = [figures["shifts"]]

# %%
# The first Karhunen-Loeve modes of the references.

shown = [figures["modes"]]
