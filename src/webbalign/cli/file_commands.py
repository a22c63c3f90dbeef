"""The commands that make or check files: simulate, asn, psfmask; completion."""

from __future__ import annotations

from webbalign.cli import common
from webbalign.cli.command import Command, load_options
from webbalign.cli.flags import flags_of

__all__ = ["FILE_COMMANDS"]

FILE_COMMANDS = (
    Command(
        name="simulate coron3",
        summary="Make a coronagraphic sequence with a known answer.",
        arguments="DIR",
        about="Writes simulated _calints of a star with a companion and of its reference star, "
        "their association, and the truth, into DIR.",
        flags=lambda: flags_of(
            load_options("webbalign.simulate.options:CoronSimulation"), "The sequence"
        ),
        function="webbalign.cli.run_files:run_simulate",
        count=(1, 1),
        examples=("webbalign simulate coron3 demo --nints 20 --ref-nints 4 --ref-dithers 9",),
    ),
    Command(
        name="simulate mosaic",
        summary="Make a mosaic of star fields with known pointing errors.",
        arguments="DIR",
        about="Writes simulated _cal images of NIRCam and MIRI (several visits, dithered, in a "
        "folder per band), associations, the catalog of the stars, one like Gaia's, and the true "
        "correction of each image into DIR.",
        flags=lambda: flags_of(
            load_options("webbalign.simulate.mosaic_options:MosaicSimulation"), "The mosaic"
        ),
        function="webbalign.cli.run_files:run_simulate_mosaic",
        count=(1, 1),
        examples=("webbalign simulate mosaic sim --bands F150W,F300M --visits 2 --dithers 4",),
    ),
    Command(
        name="asn",
        summary="Make an association from files; IS_PSF tells the roles.",
        arguments="FILE...",
        about="Writes an association of the given _calints files: those with the keyword IS_PSF "
        "true are psf members, the others science members.",
        flags=lambda: flags_of(common.AssociationOptions, "The association"),
        function="webbalign.cli.run_files:run_asn",
        count=(1, None),
        examples=("webbalign asn *_calints.fits --output x_asn.json",),
    ),
    Command(
        name="psfmask make",
        summary="Write a PSFMASK reference file.",
        arguments="",
        about="Writes a PSFMASK file with all the keywords by which it is selected: a central "
        "hole of --radius, the weights of --from-image, or the weight derived for the coronagraph.",
        flags=lambda: flags_of(common.MaskFileOptions, "The mask"),
        function="webbalign.cli.run_files:run_psfmask_make",
        count=(0, 0),
        examples=("webbalign psfmask make --like x_calints.fits --radius 8 --output mask.fits",),
    ),
    Command(
        name="psfmask check",
        summary="Say what is wrong with PSFMASK reference files.",
        arguments="FILE...",
        about="Checks model, image, values and keywords; exit status 1 if anything is wrong.",
        flags=list,
        function="webbalign.cli.run_files:run_psfmask_check",
        count=(1, None),
        examples=("webbalign psfmask check mask.fits",),
    ),
    Command(
        name="completion",
        summary="Print the script that completes command lines in a shell.",
        arguments="bash|zsh|fish",
        about="Prints what a shell has to read to complete commands, options and their values.",
        flags=list,
        function="webbalign.cli.completion:run_completion",
        count=(1, 1),
        examples=(
            "webbalign completion bash > ~/.local/share/bash-completion/completions/webbalign",
            "webbalign completion fish > ~/.config/fish/completions/webbalign.fish",
        ),
    ),
)
