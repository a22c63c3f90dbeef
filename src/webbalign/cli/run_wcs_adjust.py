"""The commands of wcs adjust: get, apply, show."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from webbalign.cli.checks import check_options
from webbalign.cli.commands import Command
from webbalign.cli.errors import ExitStatus, UsageError
from webbalign.cli.parser import Parsed
from webbalign.cli.reporting import report
from webbalign.cli.running import image_pool, not_aligned
from webbalign.cli.terminal import Terminal
from webbalign.core.errors import InputError, OptionError
from webbalign.core.image_memory import STARS
from webbalign.products.addresses import is_address
from webbalign.products.inputs import require_file
from webbalign.products.remote import local

__all__ = ["run_apply", "run_get", "run_show"]

# how the names of options of correlation and stacks begin
_CORRELATION = ("corr_", "stack_")


def run_get(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Measure the corrections of a target and print them."""
    from webbalign.pipelines.wcs_adjust_options import WcsAdjustOptions, parse_method

    place = parsed.positionals[0]
    folder = Path(place)
    if not (is_address(place) or folder.is_dir()):
        raise InputError(folder, "no such folder", "the folder of a target, with one for each band")
    check_options(parsed)
    names = list(WcsAdjustOptions.__dataclass_fields__)
    names += [target[0] for target in parsed.values if target[0].startswith(_CORRELATION)]
    given = {name: parsed.get(name) for name in names if (name,) in parsed.values}
    try:
        WcsAdjustOptions.from_mapping(given)
    except OptionError as error:
        raise UsageError(str(error)) from None
    bands = given.pop("bands", ())
    if not bands:
        raise UsageError(
            "no bands - webbalign wcs-adjust get - give them, such as --bands F300M,F1000W"
        )
    given["target"] = given.get("target") or folder.resolve().name.partition("?")[0]
    settings = _settings(given)
    parameters = parsed.get("tweakreg_parameters_file")
    from webbalign.pipelines.wcs_adjust import band_images, correlation_memory, get_wcs_adjust
    from webbalign.products.visit_pairs import read_visit_pairs
    from webbalign.products.wcs_adjust_file import adjust_file_name
    from webbalign.reports.wcs_adjust import adjust_text, draw_adjust

    terminal.adopt_libraries()
    images = {band: band_images(place, band) for band in bands}
    output = Path(parsed.get("output_dir", default=".")).expanduser()
    by_stars = set(parse_method(given.get("method", "tweakreg")).values()) == {"tweakreg"}
    memory = parsed.get("memory")
    taken = STARS if by_stars or memory is None else correlation_memory(images)
    with image_pool(parsed, sum(map(len, images.values())), taken=taken) as pool:
        adjust = get_wcs_adjust(
            images,
            output_dir=output,
            tweakreg_parameters=_parameters(parameters),
            overwrite=parsed.get("overwrite", default=False),
            map=pool.map,
            workers=pool.workers,
            memory=memory,
            progress=terminal.progress(),
            **settings,
        )
    terminal.close()
    written = [output / adjust_file_name(given["target"])]
    if parsed.get("figure", default=False):
        pairs = read_visit_pairs(written[0], adjust)
        drawn = draw_adjust(adjust, written[0].with_suffix(".png"), pairs)
        written += [drawn] if drawn else []
    terminal.record(written, corrections=adjust.notes)
    terminal.say(adjust_text(adjust, written))
    _report(parsed, terminal, written[0], [place])
    return ExitStatus.OK if adjust.all_aligned else not_aligned(parsed)


def _report(
    parsed: Parsed, terminal: Terminal, table: Path, places: list[str], folder: str | None = None
) -> None:
    """Write the report of a table beside it, or into `folder`; the images lie in some places."""

    def write() -> list[Path]:
        from webbalign.reports.adjust_page import find_adjustments, report_adjust

        (found,) = find_adjustments(table, places)
        return report_adjust(found, folder)

    report(parsed, terminal, write)


def run_apply(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Write images with the corrections of a table."""
    table, *places = parsed.positionals
    check_options(parsed)
    for name in parsed.positionals:
        if not (is_address(name) or Path(name).exists()):
            raise InputError(name, "no such file", "a table, and then images or their folders")
    from webbalign.pipelines.apply_adjust import apply_wcs_adjust, images_in

    terminal.adopt_libraries()
    images = images_in(places)
    options = {
        target[0]: value
        for target, value in parsed.values.items()
        if target[0] in ("output_dir", "overwrite", "resume") or target[0].startswith("sip_")
    }
    progress = terminal.progress()
    progress.start("correct images", len(images))
    with image_pool(parsed, len(images)) as pool:
        done = apply_wcs_adjust(table, images, map=pool.map, advance=progress.advance, **options)
    progress.done()
    terminal.close()
    terminal.record(
        [image.path for image in done],
        images=[
            {"file": image.path, "key": image.key or None, "status": image.status,
             "reason": image.reason}
            for image in done
        ],
    )  # fmt: skip
    for image in done:
        if not image.is_aligned:
            what = f"{image.status} of {image.key}" if image.key else "copied unchanged"
            terminal.say(f"{image.path.name}: {what}: {image.reason}")
    copied = sum(not image.key for image in done)
    unaligned = sum(not image.is_aligned for image in done)
    terminal.say(
        f"{len(done)} images written, {copied} without a correction, "
        f"{unaligned - copied} with a doubtful one"
    )
    _report(parsed, terminal, Path(local(table)), places, parsed.get("output_dir", default="."))
    return not_aligned(parsed) if unaligned else ExitStatus.OK


def run_show(command: Command, parsed: Parsed, terminal: Terminal) -> int:
    """Print a table."""
    from webbalign.products.visit_pairs import read_visit_pairs
    from webbalign.products.wcs_adjust_file import read_wcs_adjust
    from webbalign.reports.wcs_adjust import adjust_text, draw_adjust

    path = Path(parsed.positionals[0])
    adjust = read_wcs_adjust(path)
    written = []
    if parsed.get("figure_file") is not None:
        drawn = draw_adjust(adjust, parsed.get("figure_file"), read_visit_pairs(path, adjust))
        if drawn is None:
            raise InputError(path, "no visit with a reference point", "a table of webbalign")
        written.append(drawn)
    terminal.record(written, corrections=adjust.notes)
    terminal.show(adjust_text(adjust, written, exposures=parsed.get("exposures", default=True)))
    return ExitStatus.OK if adjust.all_aligned else ExitStatus.NOT_ALIGNED


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Return what the function is to be told."""
    from webbalign.pipelines.wcs_adjust_options import catalog_place

    settings = {name: value for name, value in given.items() if name != "alignment_dir"}
    if settings.get("alignment_catalog"):
        settings["alignment_catalog"] = catalog_place(
            given.get("alignment_dir", "."), settings["alignment_catalog"]
        )
    return settings


def _parameters(name: str | None) -> dict[str, Any]:
    """Read the file of tweakreg's parameters."""
    from webbalign.pipelines.wcs_adjust_options import check_tweakreg_parameters

    if name is None:
        return {}
    expected = "a TOML file with options of tweakreg"
    path = require_file(name, expected)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(path, f"not readable as TOML ({error})", expected) from None
    # the file of a whole PJPipe run serves as well
    for key in ("parameters", "get_wcs_adjust", "tweakreg_parameters"):
        inner = content.get(key)
        content = inner if isinstance(inner, dict) else content
    check_tweakreg_parameters(content, str(path))
    return content
