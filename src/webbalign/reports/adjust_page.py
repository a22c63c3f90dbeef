"""The report of the corrections of a target, from its table and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webbalign.products.alignment_products import AlignmentProducts, alignment_products
from webbalign.products.visit_pairs import (
    WORK_FOLDER,
    VisitPair,
    measured_bands,
    read_visit_pairs,
)
from webbalign.products.wcs_adjust_file import VisitCorrection, WcsAdjust, read_wcs_adjust
from webbalign.reports.adjust_figure import adjust_picture
from webbalign.reports.agreement_plots import plot_closures
from webbalign.reports.alignment_page import alignment_warnings, star_items, told, without_pixels
from webbalign.reports.alignment_plots import (
    Moved,
    Outline,
    draw_footprints,
    plot_jitter,
    plot_shifts,
)
from webbalign.reports.canvas import number
from webbalign.reports.image_plots import IMAGES_SHOWN
from webbalign.reports.page import (
    Gallery,
    Page,
    Plot,
    Section,
    Table,
    file_links,
    write_page,
)
from webbalign.reports.wcs_adjust import HEAD, adjust_row, adjust_totals

__all__ = ["AdjustProducts", "adjust_page", "find_adjustments", "report_adjust"]

_SUFFIX = "_wcs_adjust.toml"
# An image shown for each band, at least
_LEAST_SHOWN = 4
# Reduced chi-square above which what was measured of a visit disagrees.
_CHI2 = 3.0


@dataclass(frozen=True, eq=False)
class AdjustProducts:
    """A table of corrections and what was measured for it.

    Attributes
    ----------
    path : Path
    adjust : WcsAdjust
    pairs : tuple of VisitPair
    bands : dict
        By band, what its stars gave.
    """

    path: Path
    adjust: WcsAdjust
    pairs: tuple[VisitPair, ...]
    bands: dict[str, AlignmentProducts]


def find_adjustments(source: str | Path, images: Sequence[str | Path] = ()) -> list[AdjustProducts]:
    """Find the tables in a folder (or the one that is named) and what lies beside them.

    Parameters
    ----------
    source : str or Path
    images : sequence of str or Path
        Folders in which the images lie, or folders of these.

    Returns
    -------
    list of AdjustProducts
        Empty if there is none.

    Raises
    ------
    InputError
        If a table cannot be read.
    """
    source = Path(source)
    if source.is_dir():
        paths = sorted(source.glob(f"*{_SUFFIX}"))
    else:
        paths = [source] if source.suffix == ".toml" else []
    return [_adjustment(path, images) for path in paths]


def _adjustment(path: Path, images: Sequence[str | Path]) -> AdjustProducts:
    adjust = read_wcs_adjust(path)
    bands = {}
    for band, method in sorted(measured_bands(adjust)):
        table = path.parent / WORK_FOLDER / f"{band}_{method}_solution.ecsv"
        if table.is_file():
            bands[band] = alignment_products(table, images)
    return AdjustProducts(path, adjust, read_visit_pairs(path, adjust), bands)


def report_adjust(products: AdjustProducts, folder: str | Path | None = None) -> list[Path]:
    """Write the report of a table beside it, or into `folder`.

    Returns
    -------
    list of Path
        What was written; the page first.
    """
    target = products.path.with_name(f"{products.path.stem}_report.html")
    if folder is not None:
        target = Path(folder) / target.name
    return write_page(adjust_page(products, target.parent), target)


def adjust_page(products: AdjustProducts, folder: Path) -> Page:
    """Make the report; `folder` is where it is going to lie."""
    adjust = products.adjust
    target = adjust.run.get("target") or products.path.name.removesuffix(_SUFFIX)
    tables = [products.path, *(band.path for band in products.bands.values())]
    return Page(
        title=f"wcs adjust: {target}",
        subtitle=f"{adjust_totals(adjust)}; {products.path.name}",
        warnings=list(_warnings(products)),
        sections=[
            Section("visits", "What became of the visits", items=_tables(adjust)),
            Section("sky", "On the sky", items=_sky(products)),
            *_pair_sections(products.pairs),
            *_band_sections(products),
            Section("files", "Files",
                    items=[Table("Products", ["file", "size"], file_links(tables, folder))]),
        ],
    )  # fmt: skip


def _warnings(products: AdjustProducts) -> Iterator[str]:
    """Say in words what the user should look at."""
    adjust = products.adjust
    for entry in adjust.entries:
        if not entry.is_aligned:
            yield f"{entry.key}: {entry.status}{f': {entry.reason}' if entry.reason else ''}."
    frames = sorted({entry.frame for entry in adjust.entries if entry.is_applied and entry.frame})
    if len(frames) > 1:
        yield (
            f"{len(frames)} frames that nothing connects ({', '.join(frames)}): corrections of "
            "different frames do not fit together."
        )
    for entry in adjust.entries:
        if entry.is_applied and entry.chi2_reduced > _CHI2:
            yield (
                f"{entry.key}: what was measured of it disagrees by more than its errors (reduced "
                f"chi-square {entry.chi2_reduced:.1f}): its exposures or bands were pointed "
                "differently, and another band may be off by more than the stated error."
            )
    wrong = [pair for pair in products.pairs if pair.is_wrong]
    for pair in wrong[:5]:
        yield f"The images of {pair.first} and {pair.second} were compared wrongly: left out."
    if len(wrong) > 5:
        yield f"{len(wrong) - 5} more pairs of visits were compared wrongly, and left out."
    for band, found in products.bands.items():
        yield from alignment_warnings(found, f"{band}: ")
    methods = measured_bands(adjust)
    if not methods:
        yield "The table does not say how it was measured; the stars behind it are left out."
    for band, method in methods:
        if method != "cross_corr" and band not in products.bands:
            yield f"{band}: the table of its stars is not in {WORK_FOLDER}; they are left out."


def _tables(adjust: WcsAdjust) -> list[Table]:
    """Return the visits, and their exposures apart."""
    kinds = (
        ("Visits", [entry for entry in adjust.entries if not entry.key.exposure]),
        ("Exposures", [entry for entry in adjust.entries if entry.key.exposure]),
    )
    note = "Shift at the reference point of the visit; ±: its one-sigma error per axis."
    jitter = " Jitter: scatter of the exposures about it."
    head = [*(name.replace("+-", "±") for name in HEAD), "reason"]
    return [
        Table(
            title,
            *told(head, [[*adjust_row(e), e.reason or "-"] for e in entries]),
            note + (jitter if title == "Visits" else ""),
        )
        for title, entries in kinds
        if entries
    ]


def _sky(products: AdjustProducts) -> list[Plot]:
    found = []
    picture = adjust_picture(products.adjust, products.pairs)
    visits = [entry for entry in products.adjust.entries if not entry.key.exposure]
    if picture is not None:
        found.append(
            Plot(
                "visits",
                "Visits, their shifts and errors",
                picture,
                "Arrows: shifts, with one-sigma ellipses of their errors; the key tells both "
                "scales. Lines: visits whose images were compared. Good: ellipses much smaller "
                "than arrows, no line in red, no cross.",
                f"Outlines of {len(visits)} visits on the sky with an arrow for the shift of each "
                "and its error ellipse.",
            )
        )
    outlines = [outline for entry in visits for outline in _outlines(products.adjust, entry)]
    if outlines:
        found.append(draw_footprints(outlines))
    moved = [_moved(entry) for entry in products.adjust.entries if entry.is_applied]
    of_visits = [group for group in moved if group.name == group.visit]
    if of_visits:
        found.append(plot_shifts(of_visits, "visit"))
    jitter = plot_jitter([group for group in moved if group.name != group.visit], "exposure")
    return found + ([jitter] if jitter is not None else [])


def _moved(entry: VisitCorrection) -> Moved:
    key = entry.key
    visit = str(type(key)(key.visit, "", key.module)) if key.exposure else str(key)
    return Moved(str(key), visit, str(entry.status), entry.correction.shift, entry.cov[4:, 4:])


def _outlines(adjust: WcsAdjust, entry: VisitCorrection) -> Iterator[Outline]:
    told: Any = adjust.run.get("footprints", {})
    plane = entry.plane
    if plane is None or not isinstance(told, dict):
        return
    for corners in told.get(str(entry.key), []):
        before: NDArray[np.float64] = plane.from_sky(np.array(corners, dtype=np.float64))
        after = entry.correction.apply(before) if entry.is_applied else before
        yield Outline(plane.to_vectors(before), plane.to_vectors(after), str(entry.status))


def _pair_sections(pairs: Sequence[VisitPair]) -> Iterator[Section]:
    if not pairs:
        return
    closures = [
        {
            "first": pair.first, "second": pair.second, "dx_mas": 1e3 * pair.left[0],
            "dy_mas": 1e3 * pair.left[1], "error_mas": 1e3 * pair.error,
        }
        for pair in pairs
        if pair.used
    ]  # fmt: skip
    plot = plot_closures(closures, "pairs_", stars=False)
    rows = [
        [f"{pair.first} – {pair.second}", _pair_status(pair), number(1e3 * pair.closure, ".2f"),
         number(1e3 * pair.error, ".2f")]
        for pair in pairs
    ]  # fmt: skip
    table = Table("Pairs of visits", ["pair", "status", "left over [mas]", "± [mas]"], rows)
    items: list[Plot | Table] = [table] if plot is None else [plot, table]
    yield Section("pairs", "Visits compared by their images", items=items)


def _pair_status(pair: VisitPair) -> str:
    if pair.is_wrong:
        return "wrong: left out"
    return "used" if pair.used else pair.status


def _band_sections(products: AdjustProducts) -> Iterator[Section]:
    """Show what the stars of each band tell."""
    shown = max(IMAGES_SHOWN // max(len(products.bands), 1), _LEAST_SHOWN)
    for band, found in products.bands.items():
        if found.stars is None:
            continue
        name = "".join(letter if letter.isalnum() else "_" for letter in band)
        items = star_items(found, f"{name}_", shown)
        everything: list[Plot | Table | Gallery] = [
            *items["agreement"], *items["catalog"], *items["residuals"]
        ]  # fmt: skip
        yield Section(f"band_{name}", f"Stars in {band}", without_pixels(found), everything)
