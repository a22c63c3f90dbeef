"""What each product of coron3 is made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webbalign.core.errors import InputError
from webbalign.products.associations import Association
from webbalign.products.names import exposure_product, source_product
from webbalign.products.provenance import Finding, Recipe, State, judge, of_inputs
from webbalign.steps._resume import recipe_of

__all__ = ["Coron3Recipes"]


@dataclass(frozen=True)
class Coron3Recipes:
    """The recipes of one association.

    A recipe can be made once the products exist that it depends on: it names them with what they
    hold.

    Attributes
    ----------
    association : Association
    pipeline : Coron3Pipeline
        With the options that are used.
    """

    association: Association
    pipeline: Any

    # Where the products lie ----------------------------------------------------------------------

    def place(self, member: Path, suffix: str) -> Path:
        """Return where a product of one exposure lies."""
        folder: Path = self.pipeline.output_folder
        return folder / exposure_product(member, self.association.asn_id, suffix)

    def common_place(self, suffix: str) -> Path:
        """Return where a product of all exposures lies."""
        folder: Path = self.pipeline.output_folder
        return folder / source_product(self.association.name, suffix)

    @property
    def combined_place(self) -> Path:
        """Where the combined image lies."""
        return self.common_place(self.pipeline.suffix or "i2d")

    def flagged(self, member: Path) -> Path:
        """Return the file of an exposure after outlier detection: itself, if that is skipped."""
        skip = self.pipeline.outlier_detection.skip
        return member if skip else self.place(member, "crfints")

    def shifts_place(self, member: Path) -> Path:
        """Return where the table of fitted shifts lies."""
        place = self.place(member, "psfalign")
        return place.with_name(f"{place.stem}_shifts.ecsv")

    # The recipes ---------------------------------------------------------------------------------

    def crfints(self, member: Path) -> Recipe:
        """Of an exposure with its outliers flagged."""
        return self._recipe("outlier_detection", [member])

    def psfstack(self) -> Recipe:
        """Of the stack of references."""
        psf = [self.flagged(member) for member in self.association.psf]
        return self._recipe("stack_refs", psf, order=_names(psf))

    def psfalign(self, member: Path) -> Recipe:
        """Of the references aligned to an exposure."""
        files = [self.flagged(member), self.common_place("psfstack")]
        recipe: Recipe = self.pipeline.align_refs.recipe(files)
        return recipe

    def psfsub(self, member: Path) -> Recipe:
        """Of an exposure without starlight."""
        recipe = self._recipe("klip", [self.flagged(member)])
        step = self.pipeline.align_refs
        if step.skip:
            references = of_inputs([self.common_place("psfstack")])
            how = {"align_refs.skip": "True"}
        elif step.save_psfalign:
            references, how = of_inputs([self.place(member, "psfalign")]), {}
        else:  # they exist nowhere: what they are made from stands for them
            aligned = self.psfalign(member)
            references = dict(aligned.inputs)
            how = {f"align_refs.{name}": value for name, value in aligned.options.items()}
        if step.options.hand_on_repaired:
            how["hand_on_repaired"] = "True"
        options, inputs = {**recipe.options, **how}, {**recipe.inputs, **references}
        return Recipe("klip", options, inputs)

    def psfmodel(self, member: Path) -> Recipe:
        """Of the model of the starlight of an exposure."""
        recipe = self.psfsub(member)
        return Recipe("klip, the model", recipe.options, recipe.inputs)

    def i2d(self) -> Recipe:
        """Of the combined image."""
        parts = [self.place(member, "psfsub") for member in self.association.science]
        asn = self.association
        table = f"{asn.table_name} {asn.pool_name}"
        return self._recipe("resample", parts, order=_names(parts), association=table)

    def figure(self) -> Recipe:
        """Of the picture of the result."""
        first = self.association.science[0]
        files = [self.flagged(first), self.place(first, "psfsub"), self.combined_place]
        mark = str(self.pipeline.options.mark)
        return Recipe("figure", {"mark": mark}, of_inputs(files))

    def _recipe(self, name: str, files: Iterable[Path], **more: str) -> Recipe:
        return recipe_of(getattr(self.pipeline, name), files, **more)

    # What is there -------------------------------------------------------------------------------

    def wanted(self) -> Iterator[tuple[Path, Any]]:
        """Yield each product with the function that gives its recipe, in the order of the work."""
        pipeline, asn = self.pipeline, self.association
        if not pipeline.outlier_detection.skip:
            for member in asn.members:
                yield self.place(member, "crfints"), lambda m=member: self.crfints(m)
        yield self.common_place("psfstack"), self.psfstack
        for member in asn.science:
            if not pipeline.align_refs.skip and pipeline.align_refs.save_psfalign:
                yield self.place(member, "psfalign"), lambda m=member: self.psfalign(m)
                yield self.shifts_place(member), lambda m=member: self.psfalign(m)
            yield self.place(member, "psfsub"), lambda m=member: self.psfsub(m)
            if not pipeline.klip.skip and pipeline.klip.save_psf_model:
                yield self.place(member, "psfmodel"), lambda m=member: self.psfmodel(m)
        if not pipeline.resample.skip:
            yield self.combined_place, self.i2d
            if pipeline.options.figure or pipeline.options.mark:
                yield self.combined_place.with_suffix(".png"), self.figure

    def status(self) -> list[Finding]:
        """Say of each product what is known of it.

        A product is stale, too, if one that it is made from is going to be made again.
        """
        found: list[Finding] = []
        again: dict[str, State] = {}
        for path, recipe in self.wanted():
            try:
                made = recipe()
            except (OSError, InputError):
                # what it is made from is missing
                state = State.STALE if path.exists() else State.MISSING
                item = Finding(path, state, ("what it is made from is missing",) * path.exists())
            else:
                item = judge(path, made)
                behind = [name for name in made.inputs if name in again]
                if item.state is State.DONE and behind:
                    words = tuple(f"{name} is {again[name].value}" for name in behind)
                    item = Finding(path, State.STALE, words)
            if item.state is not State.DONE:
                again[path.name] = item.state
            found.append(item)
        return found


def _names(paths: Iterable[Path]) -> str:
    return " ".join(path.name for path in paths)
