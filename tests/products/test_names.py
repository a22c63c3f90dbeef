from hypothesis import given
from hypothesis import strategies as st

from webbalign.products.names import exposure_product, root, source_product

NAME = "jw10005006001_02102_00001_nrcalong"


def test_root_cuts_folder_suffix_and_extension():
    for end in ("_calints.fits", "_crfints.fits.gz", "_psfsub.fits", ".fits", ""):
        assert root(f"some/folder/{NAME}{end}") == NAME


def test_exposure_product_is_named_as_jwst_names_it():
    assert exposure_product(f"{NAME}_calints.fits", "c1001", "psfsub") == (
        f"{NAME}_c1001_psfsub.fits"
    )
    assert exposure_product(f"{NAME}_c1001_crfints.fits", "c1001", "psfsub") == (
        f"{NAME}_c1001_psfsub.fits"
    )
    assert exposure_product(f"{NAME}_calints.fits", None, "psfalign") == f"{NAME}_psfalign.fits"
    assert source_product("jw1-c1001_t001", "i2d") == "jw1-c1001_t001_i2d.fits"


@given(st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True), st.sampled_from(["psfsub", "i2d"]))
def test_a_product_has_the_root_of_its_input(name, suffix):
    assert root(exposure_product(f"{name}_calints.fits", None, suffix)) == name
