"""wcs adjust: measure each visit's correction where it can be measured, for all bands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError, OptionError
from webbalign.core.options import declared
from webbalign.execution import NullProgress, executor
from webbalign.pipelines._band_jobs import METHODS, band_images, band_job, method_named
from webbalign.pipelines._band_results import measured_once
from webbalign.pipelines._catalog_functions import catalog_function
from webbalign.pipelines._correlation_memory import correlation_memory
from webbalign.pipelines._get_adjust import get_wcs_adjust, words
from webbalign.pipelines._stack_bands import stack_dithers
from webbalign.pipelines.wcs_adjust_options import WcsAdjustOptions, catalog_place, parse_method
from webbalign.products.stacks import Stacking
from webbalign.products.visit_frames import MeasuredBand, combined_visits
from webbalign.products.wcs_adjust_file import AdjustStatus, WcsAdjust

__all__ = ["GetWCSAdjustStep", "band_images", "correlation_memory", "get_wcs_adjust"]

log = logging.getLogger(__name__)


class GetWCSAdjustStep:
    """The same with the parameters and methods of PJPipe's step of that name.

    Parameters
    ----------
    directory : str or Path
        Folder of the target; the table and the folder ``get_wcs_adjust`` are written there.
    progress_dict : mapping
        By band, ``{"dir": folder of its _cal files, "success": bool}``. A band that is not there
        or was no success is left out, which is said. None: ``directory/band``.
    target : str
    alignment_dir : str or Path
        Folder of the alignment catalogs.
    procs : int
        Processes.
    bands : sequence of str
        Bands in which the corrections are measured.
    method : str or mapping
        ``tweakreg``, ``cross_corr``, ``combined``, or one by instrument.
    alignment_catalogs : mapping, optional
        By target, its alignment catalog.
    group_dithers : sequence of str, optional
        Instruments of which all dithers of a visit get one correction.
    degroup_nircam_modules : bool
    tweakreg_parameters : mapping, optional
    reproject_func : str
        ``interp``, ``exact`` or ``adaptive``.
    overwrite : bool
    custom_catalog_function : callable or str, optional
    custom_catalog_function_kwargs : mapping, optional
    **options
        More of :func:`get_wcs_adjust`: ``mix_bands``, ``consistency``, ``memory``, options of the
        correlation.

    Attributes
    ----------
    result : WcsAdjust or None
        Of the last `do_step`.
    """

    def __init__(
        self,
        directory: str | Path,
        progress_dict: Mapping[str, Any] | None,
        target: str,
        alignment_dir: str | Path,
        procs: int = 1,
        bands: Sequence[str] | None = None,
        method: str | Mapping[str, str] = "tweakreg",
        alignment_catalogs: Mapping[str, str] | None = None,
        group_dithers: Sequence[str] | str | None = None,
        degroup_nircam_modules: bool = False,
        tweakreg_parameters: Mapping[str, Any] | None = None,
        reproject_func: str = "interp",
        overwrite: bool = False,
        custom_catalog_function: Callable[..., Any] | str | None = None,
        custom_catalog_function_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if not bands:
            raise OptionError("option 'bands' is empty - give bands to measure")
        parse_method(method)
        self.directory, self.target, self.bands = Path(directory), target, list(bands)
        self.progress_dict = progress_dict
        self.procs, self.overwrite = procs, overwrite
        self.result: WcsAdjust | None = None
        name = (alignment_catalogs or {}).get(target)
        self._settings: dict[str, Any] = {
            "target": target,
            "method": method,
            "alignment_catalog": name and catalog_place(alignment_dir, name),
            "group_dithers": group_dithers,
            "degroup_nircam_modules": degroup_nircam_modules,
            "tweakreg_parameters": tweakreg_parameters,
            "reproject_func": reproject_func,
            "custom_catalog_function": custom_catalog_function,
            "custom_catalog_function_kwargs": custom_catalog_function_kwargs,
        } | options

    def do_step(self) -> bool:
        """Measure all bands and write the table; True: everything is aligned."""
        images = {}
        for band in self.bands:
            try:
                images[band] = self._images(band)
            except InputError as error:
                log.warning("%s: left out (%s)", band, error)
        if not images:
            raise InputError(self.directory, f"no images of {', '.join(self.bands)}", "_cal files")
        self.result = get_wcs_adjust(
            images,
            output_dir=self.directory,
            overwrite=self.overwrite,
            executor="serial" if self.procs == 1 else "processes",
            workers=self.procs,
            **self._settings,
        )
        return self.result.all_aligned

    def run_tweakreg(self, band_full: str, out_dir: str | Path) -> bool:
        """Measure one band by its stars, and write its table into a folder."""
        return self._run_band(band_full, out_dir, "tweakreg")

    def run_cross_corr(self, band_full: str, out_dir: str | Path) -> bool:
        """Measure one band by correlation, and write its table into a folder."""
        return self._run_band(band_full, out_dir, "cross_corr")

    def run_combined(self, band_full: str, out_dir: str | Path) -> bool:
        """Measure one band by stars and images at once, and write its table into a folder."""
        return self._run_band(band_full, out_dir, "combined")

    def get_visit_transforms(self, in_dir: str | Path) -> dict[str, dict[str, Any]]:
        """Combine the results of bands that lie in a folder.

        Returns
        -------
        dict
            By key, ``shift`` (arcsec) and ``matrix`` as arrays.
        """
        from webbalign.products.wcs_adjust_file import read_wcs_adjust

        folder = Path(in_dir)
        bands = []
        for method in METHODS:
            for path in sorted(folder.glob(f"*_{method}.toml")):
                table = read_wcs_adjust(path)
                bands.append(
                    MeasuredBand(table.run["band"], table.entries, table.run.get("catalog", ""))
                )
        if not bands:
            raise InputError(
                folder, "no results of bands in it", "a folder that run_tweakreg wrote"
            )
        return {
            str(entry.key): {"shift": entry.correction.shift, "matrix": entry.correction.matrix}
            for entry in combined_visits(bands)
        }

    def make_stacked_images(
        self, dithers: Sequence[str], in_dir: str | Path, out_dir: str | Path, procs: int = 1
    ) -> list[bool]:
        """Stack dithers as cross_corr does, on one grid, to look at.

        Parameters
        ----------
        dithers : sequence of str
            ``jw<visit>`` or ``jw<visit>_<detector>``.
        in_dir, out_dir : str or Path
            Folders of the ``_cal`` files, and for ``{dither}_stacked.fits``.
        procs : int

        Returns
        -------
        list of bool
            Whether each stack has good pixels.
        """
        folder = Path(in_dir)
        images = band_images(folder.parent, folder.name)
        stacking = Stacking.from_mapping(self._settings)
        with executor("serial" if procs == 1 else "processes", procs) as pool:
            return stack_dithers(dithers, images, out_dir, stacking, map=pool.map)

    def parallel_make_stacked_image(
        self, dither: str, in_dir: str | Path, out_dir: str | Path
    ) -> bool:
        """Stack one of the dithers; see `make_stacked_images`."""
        return self.make_stacked_images([dither], in_dir, out_dir)[0]

    def _images(self, band: str) -> list[Path]:
        if self.progress_dict is None:
            return band_images(self.directory, band)
        known = self.progress_dict.get(band)
        if not known or "dir" not in known:
            raise InputError(band, "no folder in progress_dict", "one under the key dir")
        if not known.get("success", True):
            found = "not successful so far, says progress_dict"
            raise InputError(band, found, "a band whose earlier steps succeeded")
        folder = Path(known["dir"])
        return band_images(folder.parent, folder.name)

    def _run_band(self, band: str, out_dir: str | Path, method: str) -> bool:
        method_named(method)
        settings = dict(self._settings)
        made = catalog_function(settings.pop("custom_catalog_function"))
        kwargs = settings.pop("custom_catalog_function_kwargs") or {}
        parameters = settings.pop("tweakreg_parameters") or {}
        names = {option.name for option in declared(WcsAdjustOptions)} - {"method"}
        table = {name: value for name, value in settings.items() if name in names}
        table["group_dithers"] = words(settings["group_dithers"])
        options = WcsAdjustOptions(**(table | {"bands": (band,)}))
        others = names | {"method", "memory"}
        correlation = {name: value for name, value in settings.items() if name not in others}
        folder = Path(out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with self._pool() as pool:
            images = self._images(band)
            job = band_job(band, images, options, method, parameters, folder, pool.map, correlation)
            job = replace(job, catalog_function=made, catalog_kwargs=kwargs)
            measured = measured_once(
                job, method_named(method), pool.map, NullProgress(), overwrite=self.overwrite
            )
        return any(entry.status is not AdjustStatus.FAILED for entry in measured.entries)

    def _pool(self) -> Any:
        return executor("serial" if self.procs == 1 else "processes", self.procs)
