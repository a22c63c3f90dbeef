"""Images as stpipe's model library: borrowed and shelved one by one, in memory or on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stdatamodels.jwst.datamodels import ImageModel
from stpipe.library import AbstractModelLibrary, NoGroupID

from webbalign.products.associations import read_association
from webbalign.products.image_files import read_info
from webbalign.products.models import open_image

__all__ = ["ModelLibrary"]


class ModelLibrary(AbstractModelLibrary):
    """The images of an association, a list of models, or products that a step has written.

    Examples
    --------
    >>> with library:  # doctest: +SKIP
    ...     for index, model in enumerate(library):
    ...         print(model.meta.filename, model.meta.wcsinfo.s_region)
    ...         library.shelve(model, index, modify=False)
    """

    @classmethod
    def of_files(
        cls,
        paths: Sequence[str | Path],
        groups: Sequence[str],
        *,
        association: Mapping[str, Any] | None = None,
        on_disk: bool = False,
    ) -> ModelLibrary:
        """Make a library of files that are opened when they are borrowed.

        Parameters
        ----------
        paths : sequence of str or Path
        groups : sequence of str
            Group of each.
        association : mapping, optional
            What else is known of the association (``table_name``, ``asn_pool``).
        on_disk : bool
            Whether models that are shelved go back to (temporary) files.
        """
        members = [
            {"expname": str(Path(path).absolute()), "exptype": "science", "group_id": group}
            for path, group in zip(paths, groups, strict=True)
        ]
        content = {**(association or {}), "products": [{"members": members}]}
        return cls(content, on_disk=on_disk)

    @property
    def crds_observatory(self) -> str:
        """The observatory that stpipe asks for; nothing is fetched from CRDS."""
        return "jwst"

    def _datamodels_open(self, filename: str | Path, **kwargs: Any) -> ImageModel:
        return open_image(filename)

    def _assign_member_to_model(self, model: ImageModel, member: Mapping[str, Any]) -> None:
        for name in ("group_id", "tweakreg_catalog", "exptype"):
            if name in member:
                setattr(model.meta, name, member[name])
        if self.asn.get("table_name"):
            model.meta.asn.table_name = self.asn["table_name"]
        if self.asn.get("asn_pool"):
            model.meta.asn.pool_name = self.asn["asn_pool"]

    @classmethod
    def _load_asn(cls, filename: str | Path) -> Any:
        return dict(read_association(Path(filename), "an association (JSON)"))

    def _filename_to_group_id(self, filename: str | Path) -> str:
        return self._model_to_group_id(filename)

    def _model_to_group_id(self, model: ImageModel | str | Path) -> str:
        info = read_info(model)
        group = info.group_id or info.observation.group("exposure")
        if not group:
            raise NoGroupID(f"{info.name} does not tell its exposure")
        return group

    def finalize_result(self, step: Any, reference_files_used: Any) -> None:
        """Do nothing: the steps record what they used by themselves."""
