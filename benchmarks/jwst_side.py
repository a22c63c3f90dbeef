"""What runs under jwst's own Python: ``jwst_side.py TASK SETTINGS WORDS...``.

Nothing is asked of CRDS: parameters are the defaults, and the mask is given as an override.
"""

import json
import os
import sys
import time
from importlib import metadata

os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"


def offline():
    """Let stpipe run without a CRDS server (it asks for the name of the context)."""
    from stpipe import crds_client

    crds_client.get_context_used = lambda observatory: "jwst_0000.pmap"


def versions(settings):
    names = ("jwst", "numpy", "scipy", "astropy", "stdatamodels", "stcal", "drizzle")
    print(f"jwst {metadata.version('jwst')} (", end="")
    print(", ".join(f"{name} {metadata.version(name)}" for name in names[1:]), end=")\n")


def coron3(settings, association, output, mask):
    """Run the pipeline; ``float64``: with the arrays of its fit made float64."""
    from jwst.pipeline import Coron3Pipeline

    offline()
    if settings.get("float64"):
        import numpy as np
        from jwst.coron import imageregistration

        shipped = imageregistration.align_fourier_lsq

        def in_float64(reference, target, mask=None):
            arrays = [
                None if a is None else np.asarray(a, np.float64) for a in (reference, target, mask)
            ]
            return shipped(*arrays)

        imageregistration.align_fourier_lsq = in_float64
    steps = {"align_refs": {"override_psfmask": mask}, **settings.get("steps", {})}
    Coron3Pipeline.call(association, output_dir=output, save_results=True, steps=steps)


def fits(settings, pairs, output):
    """Fit pairs of images (float64) with align_fourier_lsq; shifts and seconds of each."""
    import numpy as np
    from jwst.coron.imageregistration import align_fourier_lsq

    arrays = np.load(pairs)
    weights = arrays["weight"]
    found, seconds = [], []
    for i, (science, psf) in enumerate(zip(arrays["science"], arrays["psf"], strict=True)):
        weight = weights if weights.ndim == 2 else weights[i]
        for _ in range(settings.get("repeat", 1)):
            start = time.perf_counter()
            result = align_fourier_lsq(science, psf, weight)
            seconds.append(time.perf_counter() - start)
        found.append(result)
    np.savez(output, fits=found, seconds=seconds)


def next_steps(settings, output):
    """Use products as input of jwst's own next steps; prints one JSON line per use."""
    import warnings

    import numpy as np

    offline()
    warnings.simplefilter("ignore")
    from jwst.coron import AlignRefsStep, KlipStep, StackRefsStep
    from jwst.resample import ResampleStep
    from stdatamodels.jwst import datamodels

    def stack_refs():
        return StackRefsStep.call([datamodels.open(name) for name in settings["psf_crfints"]])

    def align_refs():
        return AlignRefsStep.call(
            settings["crfints"], settings["psfstack"], override_psfmask=settings["mask"]
        )

    def klip():
        return KlipStep.call(settings["repaired"], settings["psfalign"])

    def resample():
        return ResampleStep.call(split(settings["psfsub"]))

    def split(name):
        from jwst.datamodels import ModelLibrary

        models = []
        with datamodels.CubeModel(name) as cube:
            for i in range(len(cube.data)):
                image = datamodels.ImageModel(data=cube.data[i], dq=cube.dq[i], err=cube.err[i])
                for part in ("var_poisson", "var_rnoise", "var_flat"):
                    setattr(image, part, getattr(cube, part)[i])
                image.update(cube)
                image.meta.wcs = cube.meta.wcs
                models.append(image)
        return ModelLibrary(models, on_disk=False)

    for step in (stack_refs, align_refs, klip, resample):
        try:
            result = step()
            data = np.asarray(result.data)
            print(
                json.dumps(
                    {
                        "step": step.__name__,
                        "model": type(result).__name__,
                        "shape": data.shape,
                        "finite": float(np.isfinite(data).mean()),
                        "rms": float(np.sqrt(np.nanmean(data**2.0))),
                    }
                )
            )
        except (Exception, SystemExit) as error:  # whatever it is, it is the result
            print(json.dumps({"step": step.__name__, "error": f"{type(error).__name__}: {error}"}))


def open_all(settings, *names):
    """Open and validate files with the data models; prints one JSON line per file."""
    import warnings

    from stdatamodels.jwst import datamodels

    for name in names:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with datamodels.open(name) as model:
                    model.validate()
                    line = {"model": type(model).__name__, "shape": list(model.shape)}
            except Exception as error:  # whatever it is, it is the result
                line = {"error": f"{type(error).__name__}: {error}"}
        line["warnings"] = sorted({str(w.message)[:200] for w in caught})
        print(json.dumps({"name": os.path.basename(name), **line}))


if __name__ == "__main__":
    task, settings, *words = sys.argv[1:]
    globals()[task](json.loads(settings), *words)
