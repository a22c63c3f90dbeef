import pytest

from webbalign.core.errors import InputError
from webbalign.products.inputs import require_file


def test_a_file_that_is_there_is_returned(tmp_path):
    file = tmp_path / "a.fits"
    file.touch()
    assert require_file(str(file), "an image") == file


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(InputError, match=r"no such file - .*no\.fits - give an image$"):
        require_file(tmp_path / "no.fits", "an image")
    with pytest.raises(InputError, match=f"^a folder, not a file - {tmp_path} - give an image$"):
        require_file(tmp_path, "an image")
