"""The report of an alignment by stars, made from its products (ours, or those of jwst)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from webbalign.products.alignment_products import AlignmentProducts
from webbalign.products.names import root
from webbalign.products.solutions import Solution, SolvedImage
from webbalign.products.solved_stars import CatalogTable, stars_file
from webbalign.reports import alignment_plots as plots
from webbalign.reports.agreement_plots import plot_catalog, plot_closures
from webbalign.reports.canvas import number
from webbalign.reports.image_plots import IMAGES_SHOWN, image_gallery
from webbalign.reports.page import Gallery, Page, Plot, Section, Table, file_links, write_page
from webbalign.reports.star_stacks import plot_stacks

__all__ = [
    "alignment_page",
    "alignment_warnings",
    "report_alignment",
    "star_items",
    "without_pixels",
]

Items = list[Plot | Table | Gallery]

# Stars without which a fit is fragile; chi-square, and closure over its error, that are too large.
_FEW, _CHI2, _OFF = 6, 3.0, 6.0
# Share of the matched stars of an image that may be left out, and their number.
_SHARE, _LEAST = 0.2, 5
_CATALOG_ROWS = 25


def report_alignment(
    products: AlignmentProducts, folder: str | Path | None = None, name: str | None = None
) -> list[Path]:
    """Write the report of an alignment beside its products, or into `folder`, or by another name.

    Returns
    -------
    list of Path
        What was written; the page first.
    """
    target = products.report
    if folder is not None:
        target = Path(folder) / (name or target.name)
    return write_page(alignment_page(products, target.parent), target)


def alignment_page(products: AlignmentProducts, folder: Path) -> Page:
    """Make the report; `folder` is where it is going to lie."""
    rows = products.solution.images
    groups = len({row.group_id for row in rows})
    counts = Counter(str(row.status) for row in rows)
    return Page(
        title=f"tweakreg: {_what(rows)}",
        subtitle=f"{_count(len(rows), 'image')} in {_count(groups, 'group')}: "
        f"{', '.join(f'{n} {status}' for status, n in counts.items())}; {products.path.name}",
        warnings=list(alignment_warnings(products)),
        sections=[
            Section("images", "What became of the images", _catalog_words(products.solution),
                    [_status_table(products)]),
            Section("sky", "On the sky", items=_sky(products)),
            *_star_sections(products),
            Section("files", "Files", items=[_files(products, folder)]),
        ],
    )  # fmt: skip


def _what(rows: Sequence[SolvedImage]) -> str:
    programs = sorted({row.observation.program for row in rows if row.observation.program})
    filters = sorted({row.filter for row in rows if row.filter})
    words = [f"program {', '.join(programs)}" if programs else "", ", ".join(filters[:6])]
    return "; ".join(filter(None, words)) or "images"


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


# Warnings -----------------------------------------------------------------------------------------


def alignment_warnings(products: AlignmentProducts, of: str = "") -> Iterator[str]:
    """Say in words what the user should look at; `of` is put in front."""
    solution = products.solution
    by_reason: dict[tuple[str, str], list[str]] = {}
    for row in solution.images:
        if row.step_status != "COMPLETE" or row.reason:
            by_reason.setdefault((str(row.status), row.reason), []).append(row.filename)
    for (status, reason), names in by_reason.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{of}{names[0]}{more}: {status}{f': {reason}' if reason else ''}."
    few = [row for row in solution.images if row.is_applied and 0 < row.n_used < _FEW]
    if few:
        yield (
            f"{of}{_count(len(few), 'image')} aligned by fewer than {_FEW} stars "
            f"({', '.join(row.filename for row in few[:3])}{', ...' if len(few) > 3 else ''})."
        )
    bad = [row for row in solution.images if row.is_applied and row.chi2_reduced > _CHI2]
    if bad:
        worst = max(bad, key=lambda row: row.chi2_reduced)
        yield (
            f"{of}{_count(len(bad), 'image')} with residuals larger than the errors of the stars "
            f"tell (reduced chi-square up to {worst.chi2_reduced:.1f}, {worst.filename})."
        )
    yield from (f"{of}{text}" for text in _about_clipped(solution.images))
    yield from (f"{of}{text}" for text in _about_network(solution))
    if products.lacking:
        yield f"{of}{products.lacking}: stars, residuals and closures are left out."


def _about_clipped(rows: Sequence[SolvedImage]) -> Iterator[str]:
    """Name the images whose stars say something else than the rest of their group."""
    lost = {row.filename: row.n_matched - row.n_used for row in rows if row.is_applied}
    many = [
        row for row in rows
        if lost.get(row.filename, 0) > max(_SHARE * row.n_matched, _LEAST)
    ]  # fmt: skip
    if many:
        worst = max(many, key=lambda row: lost[row.filename] / row.n_matched)
        yield (
            f"In {_count(len(many), 'image')} many matched stars were left out, for they disagree "
            f"with the others of the group (up to {lost[worst.filename]} of {worst.n_matched}, "
            f"{worst.filename}): detectors may not lie as the WCS has it; see --group-by."
        )


def _about_network(solution: Solution) -> Iterator[str]:
    off = [c for c in solution.meta.get("closures", []) if _off(c) > _OFF]
    if off:
        worst = max(off, key=_off)
        yield (
            f"{_count(len(off), 'pair')} of groups disagree by more than {_OFF:g} times the error, "
            f"most of all {worst['first']} and {worst['second']} "
            f"({np.hypot(worst['dx_mas'], worst['dy_mas']):.2g} mas)."
        )
    parts = [part for part in solution.meta.get("components", []) if len(part) > 1]
    if len(parts) > 1:
        yield f"{len(parts)} parts of the mosaic that no star connects."
    catalog = solution.meta.get("abs_refcat")
    ties = solution.meta.get("absolute", [])
    if catalog and not any(tie["tied"] for tie in ties):
        reasons = "; ".join(dict.fromkeys(str(tie["reason"]) for tie in ties if tie["reason"]))
        yield f"The catalog {catalog} was not used{f': {reasons}' if reasons else ''}."


def _off(closure: Mapping[str, Any]) -> float:
    """Return a closure in units of its error; 0 if unknown."""
    length = np.hypot(closure["dx_mas"], closure["dy_mas"])
    error = closure["error_mas"]
    return float(length / error) if error > 0 and np.isfinite(length) else 0.0


# Sections -----------------------------------------------------------------------------------------


def _catalog_words(solution: Solution) -> str:
    catalog = solution.meta.get("abs_refcat")
    if not catalog:
        return ""
    used = sum(tie["n_used"] for tie in solution.meta.get("absolute", []) if tie["tied"])
    return f"{used} of {solution.meta.get('n_catalog', 0)} stars of {catalog} were used."


def _status_table(products: AlignmentProducts) -> Table:
    head = ["image", "status", "found", "matched", "used", "rms [mas]", "shift x, y [arcsec]",
            "± [mas]", "roll [arcsec]", "chi2", "group", "reason"]  # fmt: skip
    rows = [_status_row(row) for row in products.solution.images]
    note = "Shift and roll in the tangent plane of the image's reference point."
    if any(row.n_found for row in products.solution.images):
        note += (
            " Good: nearly as many used as matched; an rms of a few hundredths of a pixel; chi2 "
            "near 1."
        )
    return Table("Images", *told(head, rows), note)


def _status_row(row: SolvedImage) -> list[str]:
    x, y = row.correction.shift
    errors = np.sqrt(np.diag(row.cov)[4:].mean()) * 1e3
    counts = [str(n) if row.n_found else "-" for n in (row.n_found, row.n_matched, row.n_used)]
    moved = row.is_applied
    return [
        root(row.filename), str(row.status), *counts, number(row.rms * 1e3, ".2f"),
        f"{x:+.4f}, {y:+.4f}" if moved else "-", number(errors if moved else None, ".2f"),
        number(row.correction.rotation * 3600 if moved else None, "+.2f"),
        number(row.chi2_reduced, ".2f"), row.group_id, row.reason or "-",
    ]  # fmt: skip


def _sky(products: AlignmentProducts) -> Items:
    groups = plots.moved_groups(products)
    found = [plots.plot_footprints(products)]
    found += [plots.plot_shifts(groups), plots.plot_jitter(groups)] if groups else []
    return [plot for plot in found if plot is not None]


def _star_sections(products: AlignmentProducts) -> Iterator[Section]:
    if products.stars is None:
        return
    items = star_items(products)
    yield Section("agreement", "How well the stars agree", items=items["agreement"])
    if items["catalog"]:
        yield Section("catalog", "The reference catalog", items=items["catalog"])
    yield Section("residuals", "Stars and residuals", without_pixels(products), items["residuals"])


def without_pixels(products: AlignmentProducts) -> str:
    """Say which images are shown without their pixels; empty: none."""
    names = [row.filename for row in products.solution.images]
    missing = [name for name in names if name not in products.images]
    if not missing:
        return ""
    which = f"{len(missing)} of {_count(len(names), 'image')}"
    return (
        f"The pixels of {which} are not here ({missing[0]}{', ...' if missing[1:] else ''}): "
        "webbalign report --images FOLDER shows them."
    )


def star_items(
    products: AlignmentProducts, prefix: str = "", shown: int = IMAGES_SHOWN
) -> dict[str, Items]:
    """Make what the stars tell: ``agreement``, ``catalog`` and ``residuals``.

    Parameters
    ----------
    products : AlignmentProducts
    prefix : str
        Of the names of the figures, which are those of files.
    shown : int
        Images that are shown one by one.
    """
    assert products.stars is not None
    closures = products.solution.meta.get("closures", [])
    agreement = [plot_stacks(products, prefix), plot_closures(closures, prefix)]
    catalog = products.stars.catalog
    gallery = image_gallery(products, shown, prefix)
    return {
        "agreement": [item for item in (*agreement, _closure_table(closures)) if item is not None],
        "catalog": _catalog_items(catalog, prefix),
        "residuals": [] if gallery is None else [gallery],
    }


def _closure_table(closures: Sequence[Mapping[str, Any]]) -> Table | None:
    """Return the pairs of groups that disagree most."""
    worst = sorted(closures, key=_off, reverse=True)[:8]
    if not worst:
        return None
    rows = [
        [f"{c['first']} – {c['second']}", str(c["n"]), number(c["dx_mas"], "+.2f"),
         number(c["dy_mas"], "+.2f"), number(c["error_mas"], ".2f"), number(_off(c), ".1f")]
        for c in worst
    ]  # fmt: skip
    head = ["pair of groups", "stars", "east [mas]", "north [mas]", "± [mas]", "length / error"]
    of = f"The {len(worst)} largest of {len(closures)}." if len(closures) > len(worst) else ""
    return Table("Pairs of groups that differ most", head, rows, of)


def _catalog_items(catalog: CatalogTable, prefix: str) -> Items:
    if not len(catalog):
        return []
    plot = plot_catalog(catalog, prefix)
    return [*([plot] if plot is not None else []), _catalog_table(catalog)]


def _catalog_table(catalog: CatalogTable) -> Table:
    order = np.argsort(np.where(np.isfinite(catalog.magnitude), catalog.magnitude, np.inf),
                       kind="stable")[:_CATALOG_ROWS]  # fmt: skip
    rows = [
        [
            str(catalog.identity[k]) or f"star {catalog.star[k]}",
            number(catalog.magnitude[k], ".2f"), number(catalog.color[k], ".2f"),
            number(1e3 * catalog.dx[k], "+.2f"), number(1e3 * catalog.dy[k], "+.2f"),
            number(1e3 * catalog.error[k], ".2f"), "yes" if catalog.used[k] else "left out",
        ]
        for k in order
    ]  # fmt: skip
    head = ["star", "magnitude", "BP - RP", "east [mas]", "north [mas]", "± [mas]", "used"]
    more = len(catalog) - len(order)
    note = "Position in the catalog less that in the images; the error is that of the catalog."
    note += f" {more} fainter ones are left out here." if more else ""
    return Table("Matched stars of the catalog", *told(head, rows), note)


def told(head: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out the columns of which nothing is known."""
    known = [k for k in range(len(head)) if any(row[k] != "-" for row in rows)]
    return [head[k] for k in known], [[row[k] for k in known] for row in rows]


def _files(products: AlignmentProducts, folder: Path) -> Table:
    beside = [products.path, stars_file(products.path)] if products.has_table else []
    # images that lie elsewhere are no products
    images = [path for path in products.images.values() if path.parent == products.path.parent
              or not products.has_table]  # fmt: skip
    paths = [path for path in (*beside, *images) if path.is_file()]
    return Table("Products", ["file", "size"], file_links(paths, folder))
