"""Where the work is done, as the command line says it."""

import pytest

from webbalign.cli import main
from webbalign.core.errors import InputError
from webbalign.pipelines.several import refuse_clashes, run_several, several_text


@pytest.fixture
def association(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x_asn.json").write_text("{}")
    (tmp_path / "y_asn.json").write_text("{}")
    return "x_asn.json"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--memory", "much"], 2, "--memory is 'much' - give an amount of memory"),
        (["--memory", "2"], 2, "--memory is '2'"),
        (
            ["--dask", "tcp://x:1", "--executor", "threads"],
            2,
            "--executor threads beside --dask tcp://x:1 - give one of them",
        ),
        (
            ["--dask-tls-ca", "ca.pem"],
            2,
            "--dask-tls-ca or the like without --dask - give --dask tls://host:8786",
        ),
    ],
)
def test_what_cannot_stand_is_refused(association, capsys, words, status, said):
    assert main(["coron3", association, *words]) == status
    assert said in capsys.readouterr().err


def test_all_that_fail_are_named(association, capsys):
    assert main(["coron3", association, "y_asn.json", "--executor", "serial"]) == 1
    captured = capsys.readouterr()
    assert "0 of 2 associations done" in captured.out
    assert (
        captured.out.count("FAILED x_asn.json: no products in the association - x_asn.json - ") == 1
    )
    assert "2 of 2 associations failed: x_asn.json, y_asn.json" in captured.err


def test_products_of_the_same_name_are_refused(tmp_path):
    text = '{"asn_id": "c1", "products": [{"name": "p", "members": []}]}'
    paths = [tmp_path / "a_asn.json", tmp_path / "b_asn.json"]
    for path in paths:
        path.write_text(text)
    told = (
        r"p_i2d.fits would be written by .*a_asn.json as well - .*b_asn.json - give other product"
    )
    with pytest.raises(InputError, match=told):
        refuse_clashes(paths)


def test_what_became_of_each_is_told_in_order(association):
    runs = list(run_several(["y_asn.json", association], executor_of="serial"))
    assert [run.status for run in runs] == ["FAILED", "FAILED"]
    assert several_text(runs).splitlines()[2].startswith("y_asn.json")
