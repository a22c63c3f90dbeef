"""What runs under PJPipe's own Python: ``wcs_adjust_pjpipe_side.py TASK SETTINGS WORDS...``.

Nothing is asked of CRDS. PJPipe imports spacepylot, which no registry has; where it is missing, a
module that only serves the import stands in for it, and what needs it (cross_corr) fails when it
asks for it.
"""

import json
import logging
import os
import sys
import time
import traceback
import types
import warnings
from pathlib import Path


def pjpipe():
    """Import PJPipe, offline; return its module and whether spacepylot is there."""
    os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"
    warnings.simplefilter("ignore")
    try:
        import spacepylot  # noqa: F401

        complete = True
    except ImportError:
        complete = False
        _stand_in()
    import pjpipe as package  # it writes a log file into the current folder

    os.environ["CRDS_SERVER_URL"] = "https://crds-serverless-mode.stsci.edu"
    from stpipe import crds_client

    crds_client.get_context_used = lambda observatory: "jwst_0000.pmap"
    logging.disable(logging.WARNING)
    return package, complete


class _Missing(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise ImportError(f"spacepylot is not installed: {self.__name__}.{name}")

        return missing


def _stand_in():
    for name in ("spacepylot", "spacepylot.alignment", "spacepylot.alignment_utilities"):
        sys.modules[name] = _Missing(name)
    sys.modules["spacepylot"].alignment = sys.modules["spacepylot.alignment"]


def versions(settings):
    """Print what is installed."""
    from importlib import metadata

    _, complete = pjpipe()
    names = ", ".join(f"{name} {metadata.version(name)}" for name in ("jwst", "tweakwcs", "numpy"))
    without = "" if complete else ", without spacepylot"
    print(f"PJPipe {metadata.version('pjpipe')} ({names}{without})")


def get(settings):
    """Measure a target: settings are those of GetWCSAdjustStep; prints one JSON line.

    ``progress_dict`` and all folders are the caller's; the folder of the target is emptied of what
    an earlier run has left by ``overwrite``.
    """
    package, complete = pjpipe()
    _no_parameters_of_crds()
    limit = settings.pop("limit_gb", None)
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(limit * 2**30),) * 2)
    line = {"spacepylot": complete}
    start = time.perf_counter()
    try:
        line["success"] = bool(package.GetWCSAdjustStep(**settings).do_step())
    except BaseException as error:  # whatever it is, it is the result
        line["error"] = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    line["seconds"] = time.perf_counter() - start
    line["table"] = str(Path(settings["directory"]) / f"{settings['target']}_wcs_adjust.toml")
    line["peak_mb"] = _peak()
    print(json.dumps(line), flush=True)


def apply(settings, table, in_dir, out_dir):
    """Apply a table to the files of a folder with ApplyWCSAdjustStep; prints one JSON line."""
    package, _ = pjpipe()
    step = package.ApplyWCSAdjustStep(
        wcs_adjust=package.load_toml(table), in_dir=in_dir, out_dir=out_dir, step_ext="cal",
        procs=settings.get("procs", 1),
    )  # fmt: skip
    print(json.dumps({"success": bool(step.do_step())}), flush=True)


def _no_parameters_of_crds():
    """Let tweakreg start from its defaults: there is no CRDS to ask."""
    from jwst.tweakreg import TweakRegStep
    from stpipe.config_parser import ConfigObj

    TweakRegStep.get_config_from_reference = classmethod(lambda cls, *args, **kwargs: ConfigObj())


def _peak():
    import resource

    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) / 1e3


if __name__ == "__main__":
    task, settings, *words = sys.argv[1:]
    globals()[task](json.loads(settings), *words)
