"""A report: one HTML file that opens from disk, and its figures beside it for papers.

The page is made of sections of figures, tables and comparisons. Everything that comes from a file
passes Jinja2's autoescape: a target may be called ``<script>``.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webbalign.products.atomic import atomic_path, sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Comparison", "Gallery", "Link", "Page", "Plot", "Section", "Table", "file_links", "write_page",
]  # fmt: skip

# dots per inch of the figures, and how many of them the page shows as one pixel of CSS
DPI, DENSITY = 150, 1.4


@dataclass(frozen=True)
class Plot:
    """A figure.

    Attributes
    ----------
    name : str
        Becomes part of file names: letters, digits, underscores.
    title : str
    figure : matplotlib Figure
    good : str
        One line on what a good one looks like.
    alt : str
        What it shows, for those who do not see it.
    """

    name: str
    title: str
    figure: Figure
    good: str
    alt: str
    kind: str = field(default="plot", init=False)


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads to a file, by its name relative to the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows.

    Attributes
    ----------
    title : str
    head : sequence of str
    rows : sequence of sequences
        Text, numbers as text, or :class:`Link`.
    note : str
        Below it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    note: str = ""
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Comparison:
    """Views of one field to switch between, by blinking or with a slider.

    Attributes
    ----------
    name, title, good : str
        As for :class:`Plot`.
    views : sequence of (str, str, bytes)
        What each is called, what it shows, and its PNG; all of one size.
    """

    name: str
    title: str
    views: Sequence[tuple[str, str, bytes]]
    good: str
    kind: str = field(default="comparison", init=False)


@dataclass(frozen=True)
class Gallery:
    """Figures of one kind side by side, as many as there is room for.

    Attributes
    ----------
    title, good : str
        As for :class:`Plot`, for all of them.
    plots : sequence of Plot
        What is good about each stands in `good`.
    """

    title: str
    good: str
    plots: Sequence[Plot]
    kind: str = field(default="gallery", init=False)


@dataclass(frozen=True)
class Section:
    """A heading with what belongs below it."""

    name: str
    title: str
    text: str = ""
    items: Sequence[Plot | Table | Comparison | Gallery] = ()


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes
    ----------
    title : str
    subtitle : str
    warnings : sequence of str
        In words, at the top; none: all is well.
    sections : sequence of Section
    """

    title: str
    subtitle: str
    warnings: Sequence[str]
    sections: Sequence[Section]


def file_links(paths: Sequence[Path], folder: Path) -> list[list[str | Link]]:
    """Return the rows of a table of files, with links from `folder`, and their sizes."""
    return [
        [
            Link(path.name, Path(os.path.relpath(path, folder)).as_posix()),
            _size(path.stat().st_size),
        ]
        for path in paths
    ]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.0f} kB"


def write_page(page: Page, path: str | Path, *, papers: bool = True) -> list[Path]:
    """Write a report and its figures.

    Parameters
    ----------
    page : Page
    path : str or Path
        The HTML file.
    papers : bool
        Whether to write each figure as PNG and PDF as well, into the folder ``{path}_figures``.

    Returns
    -------
    list of Path
        What was written, the page first.
    """
    path = Path(path)
    plots = [plot for section in page.sections for item in section.items for plot in _plots(item)]
    images = {id(plot.figure): _draw(plot.figure) for plot in plots}
    environment = _environment()
    environment.filters["png"] = lambda figure: _data(images[id(figure)])
    text = environment.get_template("report.html.j2").render(
        page=page, program=f"webbalign {version('webbalign')}"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [path, *(_write_figures(plots, images, path) if papers else ())]


def _plots(item: Plot | Table | Comparison | Gallery) -> Sequence[Plot]:
    if isinstance(item, Gallery):
        return item.plots
    return [item] if isinstance(item, Plot) else []


def _draw(figure: Figure) -> bytes:
    """Return a figure as PNG; it keeps the layout that is found."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    figure.dpi = DPI
    # of the canvas, not the figure: `savefig` would draw everything twice
    FigureCanvasAgg(figure).print_png(
        buffer, metadata={"Software": None}, pil_kwargs={"compress_level": 4}
    )
    figure.set_layout_engine("none")
    return buffer.getvalue()


def _write_figures(
    plots: Sequence[Plot], images: Mapping[int, bytes], path: Path
) -> Iterator[Path]:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    folder = path.with_name(f"{path.stem}_figures")
    sweep(folder)
    for plot in plots:
        folder.mkdir(exist_ok=True)
        target = folder / f"{plot.name}.png"
        with atomic_path(target) as temporary:
            temporary.write_bytes(images[id(plot.figure)])
        yield target
        target = target.with_suffix(".pdf")
        with atomic_path(target) as temporary:
            # without a date it does not change from run to run
            FigureCanvasPdf(plot.figure).print_pdf(temporary, metadata={"CreationDate": None})
        yield target


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("webbalign.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["width"] = lambda figure: round(figure.get_figwidth() * DPI / DENSITY)
    environment.filters["data"] = _data
    return environment


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
