"""How pictures get from the scripts of the gallery into its pages.

A script puts files that a report wrote into a list called ``shown``; after each block of the script
they are copied into the page, under the block that made them.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst


def _get_sg_image_scraper() -> Any:
    return report_figures


def quiet(gallery_conf: dict[str, Any], name: str) -> None:
    """Keep the log of one script, which stpipe has turned on, out of the next one's build."""
    for logger in ("stpipe", "webbalign"):
        logging.getLogger(logger).setLevel(logging.ERROR)


def report_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Copy the pictures of one block; return the text that shows them."""
    shown = block_vars["example_globals"].get("shown", [])
    copies = []
    for source in shown:
        target = next(block_vars["image_path_iterator"])
        shutil.copyfile(Path(source), target)
        copies.append(target)
    titles = [Path(source).stem.replace("_", " ") for source in shown]
    shown.clear()
    return str(figure_rst(copies, gallery_conf["src_dir"], ", ".join(titles)))
