"""What runs under jwst's own Python for tweakreg: ``tweakreg_jwst_side.py TASK SETTINGS WORDS...``.

Nothing is asked of CRDS, and no service of a catalog: parameters are the defaults, reference
catalogs are files.
"""

import copy
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path

os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"


def offline():
    """Let stpipe run without a CRDS server (it asks for the name of the context)."""
    from stpipe import crds_client

    crds_client.get_context_used = lambda observatory: "jwst_0000.pmap"
    warnings.simplefilter("ignore")


def make_step(options):
    """Make the step of jwst with some of its options set."""
    from jwst.tweakreg import TweakRegStep

    step = TweakRegStep()
    for name, value in options.items():
        setattr(step, name, value)
    return step


def align(settings, association, output):
    """Align files to files."""
    offline()
    step = make_step({"output_dir": output, "save_results": True, "suffix": "tweakreg", **settings})
    step.run(association)


def find(settings, *files):
    """Find the stars of files with each finder, timing it; write catalogs; one JSON line each."""
    offline()
    from stdatamodels.jwst import datamodels

    logging.disable(logging.WARNING)
    for name in files:
        with datamodels.open(name) as model:
            _ = model.data, model.err, model.dq
            for finder in settings["finders"]:
                step = make_step({"starfinder": finder, **settings.get("options", {})})
                wall, cpu = [], []
                for _ in range(settings.get("repeat", 1)):
                    start, used = time.perf_counter(), time.process_time()
                    catalog = step._find_sources(model)
                    wall.append(time.perf_counter() - start)
                    cpu.append(time.process_time() - used)
                line = {"file": name, "finder": finder, "wall": wall, "cpu": cpu, "n": len(catalog)}
                if "folder" in settings:
                    root = os.path.basename(name).removesuffix("_cal.fits")
                    path = Path(settings["folder"]) / f"{root}_{finder}.ecsv"
                    catalog.write(path, format="ascii.ecsv", overwrite=True)
                    line["catalog"] = str(path)
                print(json.dumps(line), flush=True)


def cases(settings, output):
    """Align the same images to a catalog in several ways, from catalogs of stars.

    Where the WCS put ``pixels`` goes to the npz file `output`: an array (n_images, n, 2) per case
    and stage (``NAME relative``: as the images were aligned with one another, before the catalog;
    ``NAME absolute``). One JSON line is printed for each case.
    """
    offline()
    import numpy as np
    from jwst.datamodels import ModelLibrary
    from jwst.tweakreg import tweakreg_step

    logging.disable(logging.WARNING)
    pixels = np.array(settings["pixels"], float).T
    images = [_bare(Path(name)) for name in settings["files"]]
    for image, group in zip(images, settings.get("groups", []), strict=False):
        image.meta.group_id = group
    found, shipped = {}, tweakreg_step.twk.relative_align

    def where(wcses):
        return [np.stack(wcs(*pixels, with_bounding_box=False), axis=-1) for wcs in wcses]

    def relative_align(*args, **kwargs):
        correctors = shipped(*args, **kwargs)
        found[f"{case['name']} relative"] = where([one.wcs for one in correctors])
        return correctors

    tweakreg_step.twk.relative_align = relative_align
    for case in settings["cases"]:
        models = []
        for image, catalog in zip(images, case["catalogs"], strict=True):
            model = image.copy()
            model.meta.wcs = copy.deepcopy(image.meta.wcs)
            model.meta.tweakreg_catalog = catalog
            models.append(model)
        step = make_step({"use_custom_catalogs": True, "sip_approx": False, **case["options"]})
        start, line = time.perf_counter(), {"name": case["name"]}
        try:
            result = step.run(ModelLibrary(models, on_disk=False))
        except (Exception, SystemExit) as error:  # whatever it is, it is the result
            line["error"] = f"{type(error).__name__}: {error}"
        else:
            line["seconds"] = time.perf_counter() - start
            with result:
                moved = list(result)
                line["status"] = [str(model.meta.cal_step.tweakreg) for model in moved]
                found[f"{case['name']} absolute"] = where([model.meta.wcs for model in moved])
                for index, model in enumerate(moved):
                    result.shelve(model, index, modify=False)
        print(json.dumps(line), flush=True)
    np.savez(output, **found)


def _bare(path):
    """Return an image without pixels: from a FITS file, or from an ASDF file with its WCS."""
    import asdf
    import numpy as np
    from stdatamodels.jwst import datamodels

    if path.suffix == ".asdf":
        with asdf.open(path, memmap=False, lazy_load=False) as file:
            image = datamodels.ImageModel(np.zeros(tuple(file["shape"]), np.float32))
            image.meta.wcs = copy.deepcopy(file["wcs"])
            for name, value in file["meta"].items():
                image[name] = value
        return image
    with datamodels.open(path) as model:
        image = datamodels.ImageModel(np.zeros(model.shape, np.float32))
        image.update(model)
        image.meta.wcs = copy.deepcopy(model.meta.wcs)
        image.meta.filename = path.name
    return image


def resample(settings, folder, *files):
    """Resample files together, then each alone onto the same pixels; prints JSON lines."""
    offline()
    import asdf
    from jwst.datamodels import ModelLibrary
    from jwst.resample import ResampleStep
    from stdatamodels.jwst import datamodels

    def run(names, **options):
        step = ResampleStep()
        for name, value in options.items():
            setattr(step, name, value)
        models = [datamodels.open(name) for name in names]
        return step.run(ModelLibrary(models, on_disk=False))

    whole = run(files)
    whole.save(os.path.join(folder, "all_i2d.fits"))
    frame = os.path.join(folder, "frame.asdf")
    asdf.AsdfFile({"wcs": whole.meta.wcs, "array_shape": list(whole.data.shape)}).write_to(frame)
    print(json.dumps({"name": "all_i2d.fits", "shape": whole.data.shape}), flush=True)
    for number, name in enumerate(files):
        result = run([name], output_wcs=frame)
        path = f"single{number:02d}_i2d.fits"
        result.save(os.path.join(folder, path))
        print(json.dumps({"name": path, "shape": result.data.shape}), flush=True)


if __name__ == "__main__":
    task, settings, *words = sys.argv[1:]
    globals()[task](json.loads(settings), *words)
