"""The report of the stars that were found in images, made from their catalogs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from webbalign.products.catalogs import StarCatalog, read_catalog
from webbalign.products.names import root
from webbalign.products.star_pixels import find_images
from webbalign.reports.canvas import number
from webbalign.reports.image_plots import IMAGES_SHOWN, draw_thumbnail, marker_size
from webbalign.reports.page import Gallery, Page, Plot, Section, Table, file_links, write_page

__all__ = ["STARS_PAGE", "StarProducts", "find_star_catalogs", "report_stars", "stars_page"]

STARS_PAGE = "find_stars_report.html"
# Stars without which an alignment is fragile.
_FEW = 6
_SIZE = 3.9  # inches


@dataclass(frozen=True, eq=False)
class StarProducts:
    """The catalogs of some images.

    Attributes
    ----------
    paths : tuple of Path
    catalogs : tuple of StarCatalog
    images : dict
        By the names in the catalogs, the images that are there.
    """

    paths: tuple[Path, ...]
    catalogs: tuple[StarCatalog, ...]
    images: dict[str, Path]

    @classmethod
    def of(cls, paths: Sequence[str | Path], images: Sequence[str | Path] = ()) -> StarProducts:
        """Read catalogs.

        Parameters
        ----------
        paths : sequence of str or Path
        images : sequence of str or Path
            Where the images lie, if not beside the catalogs.

        Raises
        ------
        InputError
            If a catalog cannot be read.
        """
        files = tuple(map(Path, paths))
        catalogs = tuple(read_catalog(path) for path in files)
        folders = [*images, *dict.fromkeys(path.parent for path in files)]
        return cls(files, catalogs, find_images(folders, [_image(item) for item in catalogs]))


def find_star_catalogs(source: str | Path, images: Sequence[str | Path] = ()) -> list[StarProducts]:
    """Find the catalogs of find-stars in a folder, or read the one that is named.

    Parameters
    ----------
    source, images : as of :func:`webbalign.products.alignment_products.find_alignments`

    Returns
    -------
    list of StarProducts
        Empty if there are none.
    """
    source = Path(source)
    names = [source] if source.is_file() else sorted(source.glob("*_cat.*"))
    paths = [path for path in names if path.name.endswith(("_cat.ecsv", "_cat.fits"))]
    return [StarProducts.of(paths, images)] if paths else []


def report_stars(products: StarProducts, folder: str | Path | None = None) -> list[Path]:
    """Write the report beside the catalogs, or into `folder`; returns its files, the page first."""
    target = (products.paths[0].parent if folder is None else Path(folder)) / STARS_PAGE
    return write_page(stars_page(products, target.parent), target)


def stars_page(products: StarProducts, folder: Path) -> Page:
    """Make the report; `folder` is where it is going to lie."""
    counts = [len(catalog) for catalog in products.catalogs]
    return Page(
        title="find-stars",
        subtitle=f"{sum(counts)} stars in {len(counts)} image{'s' * (len(counts) != 1)}",
        warnings=list(_warnings(products)),
        sections=[
            Section("images", "What was found", items=[_table(products)]),
            Section("stars", "Where the stars are", items=[_gallery(products)]),
            Section("files", "Files",
                    items=[Table("Products", ["file", "size"],
                                 file_links(products.paths, folder))]),
        ],
    )  # fmt: skip


def _image(catalog: StarCatalog) -> str:
    return str(catalog.meta.get("image", catalog.name))


def _warnings(products: StarProducts) -> Iterator[str]:
    few = [catalog for catalog in products.catalogs if len(catalog) < _FEW]
    if few:
        names = ", ".join(f"{_image(item)} ({len(item)})" for item in few[:3])
        yield (
            f"Fewer than {_FEW} stars in {len(few)} of {len(products.catalogs)} images: {names}"
            f"{', ...' if len(few) > 3 else ''}; see --snr-threshold."
        )
    missing = len(products.catalogs) - len(products.images)
    if missing:
        yield f"The pixels of {missing} images are not here: name their folder (--images)."


def _table(products: StarProducts) -> Table:
    rows = []
    for catalog in products.catalogs:
        flux = catalog.flux[np.isfinite(catalog.flux)]
        sigma = catalog.sigma[np.isfinite(catalog.sigma)]
        rows.append([
            root(_image(catalog)),
            str(len(catalog)),
            number(flux.max()) if flux.size else "",
            number(flux.min()) if flux.size else "",
            number(1e3 * float(np.median(sigma)), ".2g") if sigma.size else "",
            number(catalog.fwhm),
        ])  # fmt: skip
    return Table(
        "Images",
        ["image", "stars", "brightest", "faintest", "median error [mpx]", "FWHM [px]"],
        rows,
        "Fluxes in the unit of the image times pixels; errors of a position along one axis.",
    )


def _gallery(products: StarProducts) -> Gallery:
    order = sorted(range(len(products.catalogs)), key=lambda k: len(products.catalogs[k]))
    chosen = sorted(order[:IMAGES_SHOWN])
    which = (
        f" Of {len(products.catalogs)} images those with the fewest stars are shown."
        if len(chosen) < len(order)
        else ""
    )
    return Gallery(
        "Image by image",
        "Good: circles on stars, all over the image; not on its edges, on spikes and knots. Larger "
        "circles: the brighter half." + which,
        [_draw(products, products.catalogs[k]) for k in chosen],
    )


def _draw(products: StarProducts, catalog: StarCatalog) -> Plot:
    name = _image(catalog)
    figure = Figure(figsize=(_SIZE, _SIZE))
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.17, 0.12, 0.8, 0.84))
    path = products.images.get(name)
    if path is not None:
        draw_thumbnail(axis, path)
    bright = catalog.flux > np.nanmedian(catalog.flux) if len(catalog) else np.zeros(0, bool)
    size = marker_size(len(catalog))
    for some, area in ((bright, 40), (~bright, 18)):
        x, y = catalog.xy[some].T
        axis.scatter(x, y, s=size * area, facecolor="none", ec="#2166ac", lw=0.9)
    axis.set(xlabel="x [px]", ylabel="y [px]", aspect="equal")
    return Plot(
        f"stars_{root(name)}", f"{root(name)}: {len(catalog)} stars", figure, "",
        f"{name}: {len(catalog)} stars over a thumbnail of the image.",
    )  # fmt: skip
