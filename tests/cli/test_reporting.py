"""The report with which commands end: said last, left out on demand, never the end of a run."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from webbalign.cli import main


@pytest.fixture
def reports(monkeypatch, tmp_path):
    """Stand-ins for the pipeline and its report; a record of what was asked for."""
    from webbalign.pipelines import coron3, several
    from webbalign.products import coron_products
    from webbalign.reports import coron3_page

    record = SimpleNamespace(asked=[], error=None, combined=True)

    def run(association, **options):
        product = f"{association.removesuffix('_asn.json')}_i2d.fits"
        return SimpleNamespace(
            exit_status=0,
            summary=SimpleNamespace(text="the table", notes={}),
            files=[product],
            model_path=product if record.combined else None,
        )

    def write(products, folder=None, **how):
        record.asked.append((products, how))
        if record.error is not None:
            raise record.error
        return [products.replace("_i2d.fits", "_report.html"), tmp_path / "figures" / "a.png"]

    monkeypatch.setattr(coron3, "run", run)
    monkeypatch.setattr(several, "run", run)
    monkeypatch.setattr(several, "refuse_clashes", lambda names: None)
    monkeypatch.setattr(coron_products, "coron_products", str)
    monkeypatch.setattr(coron3_page, "report_coron3", write)
    for name in "ab":
        (tmp_path / f"{name}_asn.json").touch()
    monkeypatch.chdir(tmp_path)
    return record


def test_the_last_line_names_the_report(reports, capsys):
    assert main(["coron3", "a_asn.json", "--star-flux", "2", "--mark", "10,-5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "report: a_report.html"
    assert reports.asked == [("a_i2d.fits", {"star_flux": 2.0, "marks": [(10.0, -5.0)]})]


def test_no_report_leaves_it_out(reports, capsys):
    assert main(["coron3", "a_asn.json", "--no-report"]) == 0
    assert reports.asked == []
    assert "report" not in capsys.readouterr().out


def test_without_a_combined_image_there_is_none(reports, capsys):
    reports.combined = False
    assert main(["coron3", "a_asn.json"]) == 0
    assert reports.asked == []


@pytest.mark.parametrize("error", [OSError(28, "No space left"), ZeroDivisionError("oh")])
def test_a_report_that_fails_is_one_warning(reports, capsys, error):
    reports.error = error
    assert main(["coron3", "a_asn.json"]) == 0
    captured = capsys.readouterr()
    (line,) = [row for row in captured.err.splitlines() if row.startswith("WARNING")]
    assert line.startswith("WARNING: the products are written, but not their report: ")
    assert str(error.args[-1]) in line
    assert "report" not in captured.out
    assert main(["coron3", "a_asn.json", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["reports"] == []
    assert len(summary["warnings"]) == 1


def test_each_association_has_its_own(reports, capsys):
    assert main(["coron3", "a_asn.json", "b_asn.json", "--executor", "serial", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["reports"] == ["a_report.html", "b_report.html"]
    assert summary["files"] == ["a_i2d.fits", "b_i2d.fits"]
    assert [run["association"] for run in summary["result"]["runs"]] == ["a_asn.json", "b_asn.json"]
