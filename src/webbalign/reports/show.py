"""One product as a picture: data, errors and flags side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from webbalign.core.errors import InputError, OptionError
from webbalign.products.atomic import atomic_path, refuse_input
from webbalign.products.inputs import require_file
from webbalign.products.models import mean_over_integrations
from webbalign.reports.options import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Picture", "draw_product", "save_product_picture"]

_EXPECTED = "a FITS product with an image in SCI"
_DO_NOT_USE = 1


@dataclass(frozen=True)
class Product:
    """The arrays (ny, nx) of one product; None for what it does not hold."""

    name: str
    header: Mapping[str, Any]
    science_header: Mapping[str, Any]
    what: str
    data: NDArray
    err: NDArray | None
    dq: NDArray | None


def save_product_picture(
    path: str | Path, target: str | Path, options: Picture | None = None
) -> Path:
    """Draw a product into a file; its suffix tells the format (PNG, PDF, SVG).

    Raises
    ------
    InputError
        If the product cannot be shown, or the target is the product itself.
    OptionError
        If the format is not known.
    """
    figure = draw_product(path, options)
    target = Path(target)
    known = figure.canvas.get_supported_filetypes()
    suffix = target.suffix.lower().lstrip(".")
    if suffix not in known:
        raise OptionError(
            f"option 'save': {target.name} has no suffix of a picture - give .png, .pdf or .svg"
        )
    refuse_input(target, [path])
    with atomic_path(target) as temporary:
        figure.savefig(temporary, format=suffix, dpi=150)
    return target


def draw_product(
    path: str | Path, options: Picture | None = None, figure: Figure | None = None
) -> Figure:
    """Draw SCI, and ERR and DQ where they are, of one product.

    Parameters
    ----------
    path : str or Path
        Any product with an image or a cube in SCI.
    options : Picture, optional
    figure : matplotlib Figure, optional
        To draw into (a window, say).

    Raises
    ------
    InputError
        If it is no such file.
    OptionError
        If the plane is not in it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    options = options or Picture()
    product = _read(Path(path), options.plane)
    shown = [("SCI", product.data), ("ERR", product.err), ("DQ", product.dq)]
    panels = [(name, image) for name, image in shown if image is not None]
    if figure is None:
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
    figure.set_size_inches(4.6 * len(panels) + 0.6, 4.6)
    projection = _projection(product)
    for index, (name, image) in enumerate(panels):
        axis = figure.add_subplot(1, len(panels), index + 1, projection=projection)
        if name == "DQ":
            _draw_flags(axis, image)
        else:
            _draw_image(axis, name, image, product, options)
        _label(axis, projection, first=index == 0)
    figure.suptitle(_title(product), fontsize=10)
    return figure


def _draw_image(axis: Axes, name: str, image: NDArray, product: Product, options: Picture) -> None:
    from astropy.visualization import AsinhStretch, ImageNormalize, LinearStretch

    low, high = _limits(image, options)
    stretch = LinearStretch()
    if options.stretch == "asinh" and name == "SCI":
        values = image[np.isfinite(image)]
        scatter = 1.4826 * np.median(np.abs(values - np.median(values))) if values.size else 1.0
        stretch = AsinhStretch(float(np.clip(scatter / max(high - low, 1e-300), 1e-4, 1.0)))
    norm = ImageNormalize(vmin=low, vmax=high, stretch=stretch)
    axis.set_facecolor("0.6")
    shown = axis.imshow(image, origin="lower", norm=norm, cmap="viridis", interpolation="nearest")
    unit = product.science_header.get("BUNIT", "")
    axis.figure.colorbar(shown, ax=axis, shrink=0.75, label=unit)
    missing = np.count_nonzero(~np.isfinite(image))
    axis.set_title(f"{name}{f', {missing} pixels without value' if missing else ''}", fontsize=9)


def _limits(image: NDArray, options: Picture) -> tuple[float, float]:
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    aside = (100 - options.percentile) / 2
    low, high = np.percentile(values, [aside, 100 - aside])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _draw_flags(axis: Axes, dq: NDArray) -> None:
    from matplotlib.colors import ListedColormap

    kind = np.where(dq & _DO_NOT_USE, 2, np.where(dq, 1, 0))
    axis.imshow(
        kind, origin="lower", cmap=ListedColormap(["0.95", "#e3a43a", "#9b2226"]), vmin=0, vmax=2,
        interpolation="nearest",
    )  # fmt: skip
    unusable, other = (100 * np.mean(kind == value) for value in (2, 1))
    axis.set_title(f"DQ: {unusable:.2g} % DO_NOT_USE (red), {other:.2g} % others", fontsize=9)


def _label(axis: Any, projection: Any, *, first: bool) -> None:
    if projection is None:
        axis.set(xlabel="x [px]", ylabel="y [px]" if first else "")
        return
    for coordinate, name in zip(axis.coords, ("RA", "Dec"), strict=True):
        coordinate.set_axislabel(name if first else " ")
        coordinate.set_ticklabel_visible(first)
        coordinate.set_ticklabel(exclude_overlapping=True, size=8)
        coordinate.grid(color="w", alpha=0.25)


def _projection(product: Product) -> Any:
    """Return the celestial WCS of the header; None if there is none."""
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    if "CRVAL1" not in product.science_header:
        return None
    axes = [f"{key}{i}" for key in ("CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT") for i in (1, 2)]
    matrix = [f"{key}{i}_{j}" for key in ("PC", "CD") for i in (1, 2) for j in (1, 2)]
    # of a cube only the axes of its images; a distortion would not be seen
    cards = {
        key: str(value).removesuffix("-SIP") if key.startswith("CTYPE") else value
        for key in (*axes, *matrix)
        if (value := product.science_header.get(key)) is not None
    }
    try:
        wcs = WCS(Header(cards))
        return wcs if wcs.has_celestial and wcs.naxis == 2 else None
    except Exception:  # whatever wcslib refuses: the picture is drawn in pixels
        return None


def _title(product: Product) -> str:
    keys = ("TARGPROP", "INSTRUME", "FILTER", "CORONMSK")
    words = " ".join(str(product.header[key]) for key in keys if product.header.get(key))
    return f"{product.name}\n{words}{'; ' if words else ''}{product.what}"


def _read(path: Path, plane: tuple[int, ...] | None) -> Product:
    from astropy.io import fits

    path = require_file(path, _EXPECTED)
    try:
        with fits.open(path, memmap=False) as hdulist:
            if "SCI" not in hdulist:
                raise InputError(path, "no SCI extension", _EXPECTED)
            shape = hdulist["SCI"].shape
            arrays = [
                _plane(hdulist[name], shape, plane) if name in hdulist else None
                for name in ("SCI", "ERR", "DQ")
            ]
            headers = dict(hdulist[0].header), dict(hdulist["SCI"].header)
    except (OSError, EOFError, TypeError) as error:
        raise InputError(path, f"not readable as FITS ({error})", _EXPECTED) from None
    data, err, dq = arrays
    if data is None:
        raise InputError(path, f"SCI has {len(shape)} dimensions", _EXPECTED)
    return Product(path.name, *headers, _describe(shape, plane), data, err, dq)


def _plane(hdu: Any, shape: tuple[int, ...], plane: tuple[int, ...] | None) -> NDArray | None:
    """Return one image (ny, nx) of an extension, read by itself; the mean for plane None."""
    own = hdu.shape
    if not 2 <= len(own) <= 4:
        return None
    cube_axes = own[:-2]
    if plane is not None:
        _check_plane(plane, shape[:-2])
        index = plane[: len(cube_axes)]
        return np.asarray(hdu.section[index] if index else hdu.data)
    if not cube_axes:
        return np.asarray(hdu.data)
    images = (hdu.section[index] for index in np.ndindex(*cube_axes))
    if hdu.name == "DQ":
        union = np.zeros(own[-2:], np.uint32)
        for image in images:
            union |= image
        return union
    return mean_over_integrations(images)


def _check_plane(plane: tuple[int, ...], cube: tuple[int, ...]) -> None:
    inside = len(plane) == len(cube) and all(p < n for p, n in zip(plane, cube, strict=True))
    if not inside:
        sizes = " x ".join(map(str, cube))
        single = "none: the product is a single image"
        need = f"a plane of {sizes}, counted from 0" if cube else single
        raise OptionError(f"option 'plane' is {','.join(map(str, plane))} - give {need}")


def _describe(shape: tuple[int, ...], plane: tuple[int, ...] | None) -> str:
    cube = shape[:-2]
    if not cube:
        return "image"
    sizes = " x ".join(map(str, cube))
    if plane is None:
        return f"mean of {sizes} images, flags of any" if max(cube) > 1 else "image"
    return f"image {', '.join(map(str, plane))} of {sizes}"
