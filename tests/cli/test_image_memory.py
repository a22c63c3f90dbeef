import json

from webbalign.cli import main
from webbalign.products.inputs import count_images


def test_members_of_an_association_are_counted(tmp_path):
    path = tmp_path / "x_asn.json"
    path.write_text(
        json.dumps({"products": [{"members": [{"expname": str(k)} for k in range(7)]}]})
    )
    assert count_images([str(path)]) == 7
    assert count_images(["a.fits", "b.fits"]) == 2
    path.write_text("no JSON")
    assert count_images([str(path)]) == 1


def test_too_little_memory_is_told_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a_cal.fits", "b_cal.fits"):
        (tmp_path / name).touch()
    assert main(["find-stars", "a_cal.fits", "b_cal.fits", "--memory", "300MB"]) == 2
    told = "--memory is 300 MB, too little for 2 images - give at least 331 MB"
    assert told in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_cal.fits", "b_cal.fits"]
