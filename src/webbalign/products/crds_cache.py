"""Looking up references in a local CRDS cache; never asks a server, never ends the process.

Only with ``CRDS_PATH`` set is anything looked up, and only then is crds imported (it takes over a
second). The rules are evaluated on this machine by crds itself; a reference that the cache does not
hold counts as not found.
"""

from __future__ import annotations

import ast
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["crds_parameters", "find_parameters", "find_reference"]

log = logging.getLogger(__name__)

# Flight data and older reference files write the same NIRCam mask with and without the module.
_MASKS = tuple((f"MASKA{mask}", f"MASK{mask}") for mask in ("210R", "335R", "430R", "SWB", "LWB"))
_CORONAGRAPH = "meta.instrument.coronagraph"


def find_reference(reftype: str, parameters: Mapping[str, Any]) -> Path | None:
    """Return the best reference of the local cache, None if there is none.

    Parameters
    ----------
    reftype : str
        Such as ``psfmask``.
    parameters : mapping
        Data-model name (``meta.instrument.name`` ...) -> value, from :func:`crds_parameters`.

    Returns
    -------
    Path or None
        None without ``CRDS_PATH``, without a rule that matches, or with a cache that cannot be
        read (which is logged).
    """
    folder = os.environ.get("CRDS_PATH")
    if not folder or not parameters.get("meta.instrument.name"):
        return None
    try:
        name = _best_reference(reftype, parameters)
        return None if name is None else _locate(name, reftype)
    # crds raises SystemExit where it finds its own configuration at fault
    except (Exception, SystemExit) as error:
        log.warning("no %s from the CRDS cache %s: %s", reftype, folder, error)
        return None


def find_parameters(reftype: str, parameters: Mapping[str, Any]) -> Path | None:
    """Return the ``pars-*`` reference of a step, None if there is none.

    Parameters
    ----------
    reftype : str
        Such as ``pars-klipstep``.
    parameters : mapping
        As for :func:`find_reference`.
    """
    return find_reference(reftype, parameters)


def crds_parameters(dataset: Any) -> dict[str, Any]:
    """Return the values by which CRDS selects references for a data set.

    Parameters
    ----------
    dataset : str, Path, data model, list or mapping
        An exposure, an association (its first science member counts) or a list (its first item
        counts).

    Returns
    -------
    dict
        Data-model name -> value; empty if nothing can be read, which is for others to complain
        about.
    """
    try:
        if isinstance(dataset, (str, Path)):
            return _parameters_of_file(Path(dataset))
        if isinstance(dataset, Mapping):
            return _parameters_of_association(dataset, Path())
        if isinstance(dataset, (list, tuple)):
            return crds_parameters(dataset[0]) if dataset else {}
        return dict(dataset.get_crds_parameters())
    except (AttributeError, KeyError, IndexError, OSError, TypeError, ValueError) as error:
        log.debug("no CRDS parameters from %s: %s", dataset, error)
        return {}


def _parameters_of_file(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return _parameters_of_association(json.loads(path.read_text()), path.parent)
    from astropy.io import fits
    from stdatamodels.jwst.datamodels import JwstDataModel

    from webbalign.products.models import quiet_schema_warnings

    header = fits.getheader(path)
    with (
        quiet_schema_warnings(),
        JwstDataModel(fits.HDUList([fits.PrimaryHDU(header=header)])) as model,
    ):
        return dict(model.get_crds_parameters())


def _parameters_of_association(association: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    members = association["products"][0]["members"]
    science = [member for member in members if member["exptype"].lower() == "science"]
    return crds_parameters(folder / (science or members)[0]["expname"])


def _best_reference(reftype: str, parameters: Mapping[str, Any]) -> str | None:
    """Evaluate the rules of the cache: name of the file, None if no rule matches."""
    answer = _ask(reftype, parameters)
    mask = parameters.get(_CORONAGRAPH)
    for pair in _MASKS:
        if answer is None and mask in pair:
            other = pair[pair[0] == mask]
            answer = _ask(reftype, {**parameters, _CORONAGRAPH: other})
            if answer is not None:
                log.info(
                    "CRDS: no %s for %s; %s is another name of that mask", reftype, mask, other
                )
    return answer


def _ask(reftype: str, parameters: Mapping[str, Any]) -> str | None:
    from crds.core.heavy_client import hv_best_references

    found = hv_best_references(_context(), dict(parameters), [reftype])
    answer = str(found.get(reftype, "NOT FOUND"))
    log.debug("CRDS: %s: %s", reftype, answer)
    return None if answer.startswith("NOT FOUND") or answer.upper() == "N/A" else answer


def _context() -> str:
    """Return the rules in force: CRDS_CONTEXT, else what the cache knew of the server last.

    Raises
    ------
    OSError, ValueError, KeyError
        If the cache does not say.
    """
    context = os.environ.get("CRDS_CONTEXT", "")
    # a symbolic context such as jwst-latest could only be resolved by the server
    if context.endswith(".pmap"):
        return context
    from crds.core import config

    text = Path(config.locate_config("server_config", "jwst")).read_text()
    return str(ast.literal_eval(text)["operational_context"])


def _locate(name: str, reftype: str) -> Path | None:
    from crds.core import config

    path = Path(config.locate_file(name, "jwst"))
    if not path.is_file():
        log.warning("CRDS selects %s as %s, but the cache does not hold it", name, reftype)
        return None
    return path
