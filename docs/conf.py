"""Configuration of the documentation; the option tables are made anew at each build."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate_options
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

generate_options.main()

project = "webbalign"
author = "The webbalign developers"
copyright = "2026, The webbalign developers"
version = release = version_of("webbalign")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated", "gallery"]
# scripts that run at each build; how their pictures get into the pages is in gallery_images.py
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "_gallery",
    "filename_pattern": r"/plot_",
    "image_scrapers": ("gallery_images",),
    "reset_modules": ("gallery_images.quiet",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e6,
    "capture_repr": ("__repr__",),
}
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_math_renderer = "mathml"
html_title = "webbalign"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
nitpicky = False


def setup(app):
    """Write formulas as MathML, which browsers show without a script from the network."""
    app.add_html_math_renderer("mathml", (_inline_formula, None), (_block_formula, None))


def _inline_formula(writer, node):
    writer.body.append(str(tex2mathml(node.astext())))
    raise nodes.SkipNode


def _block_formula(writer, node):
    writer.body.append(f"<div class='math'>{tex2mathml(node.astext(), as_block=True)}</div>")
    raise nodes.SkipNode
