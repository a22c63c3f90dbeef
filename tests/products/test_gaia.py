"""The catalog service, played by a server on this machine: good answers, and every bad one."""

from __future__ import annotations

import http.server
import threading
import urllib.parse

import numpy as np
import pytest

from webbalign.core.errors import InputError
from webbalign.products import gaia
from webbalign.products.catalog_options import AbsoluteCatalog
from webbalign.products.gaia import (
    DEFAULT_ADDRESS,
    CatalogUnavailable,
    parse_answer,
    query_catalog,
    service_address,
)
from webbalign.products.reference_catalogs import check_reference

COLUMNS = (
    "objID,source_id,ra,ra_error,dec,dec_error,parallax,parallax_error,"
    "pmra,pmra_error,pmdec,pmdec_error,ref_epoch,mag,epoch"
)
ROWS = [
    "1,1,339.010,0.4,33.950,0.5,0.27,0.63,-0.99,0.55,0.25,0.67,2016.0,19.86,2022.53",
    "2,2,339.020,1.3,33.960,1.8,,,,,,,2016.0,15.2,2016.0",
    "3,3,339.030,0.1,33.970,0.1,8.5,0.1,50.0,0.1,-20.0,0.1,2016.0,12.0,2022.53",
]
CENTRE, RADIUS = (339.02, 33.96), 0.03


def body(rows=ROWS, count=None):
    head = f"#Number of objects found: {len(rows) if count is None else count}\n"
    return head + "\n".join([COLUMNS, *rows]) + "\n"


class Service(http.server.BaseHTTPRequestHandler):
    """Answers with what the test put into the server: (status, text, stated length) each."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answers = self.server.answers
        status, text, length = answers[min(len(self.server.asked), len(answers)) - 1]
        content = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def service(monkeypatch, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.asked, server.answers = [], [(200, body(), None)]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}/webservices/"
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(gaia, "WAITS", (0.0, 0.0))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask(epoch=2022.53, catalog="GAIADR3"):
    return query_catalog(catalog, CENTRE, RADIUS, epoch)


def test_the_question_is_what_the_service_expects(service):
    ask(epoch=2022.5312)
    path, _, query = service.asked[0].partition("?")
    assert path == "/webservices/vo/CatalogSearch.aspx"
    words = {key: value for key, (value,) in urllib.parse.parse_qs(query).items()}
    assert words.pop("SR") == "0.0301"
    assert words == {
        "RA": "339.02000", "DEC": "33.96000", "EPOCH": "2022.53", "FORMAT": "CSV", "CAT": "GAIADR3",
    }  # fmt: skip
    ask(epoch=None)
    assert "EPOCH" not in service.asked[1]


def test_stars_with_motions_epochs_and_errors(service):
    stars = ask()
    np.testing.assert_array_equal(stars.sky, [[339.01, 33.95], [339.02, 33.96], [339.03, 33.97]])
    np.testing.assert_array_equal(stars.epoch, [2022.53, 2016.0, 2022.53])
    np.testing.assert_array_equal(stars.motion[2], [50.0, -20.0])
    assert np.isnan(stars.motion[1]).all()
    np.testing.assert_array_equal(stars.magnitude, [19.86, 15.2, 12.0])
    # errors of the catalog's epoch have grown until that of the position
    position, motion = np.sqrt((0.4**2 + 0.5**2) / 2), np.sqrt((0.55**2 + 0.67**2) / 2)
    assert stars.sigma[0] == pytest.approx(1e-3 * np.hypot(position, motion * 6.53))
    assert stars.sigma[1] == pytest.approx(1e-3 * np.sqrt((1.3**2 + 1.8**2) / 2))


def test_a_second_question_is_answered_from_the_cache_even_offline(service):
    first = ask()
    service.answers = [(500, "down", None)]
    np.testing.assert_array_equal(ask().sky, first.sky)
    assert len(service.asked) == 1
    with pytest.raises(CatalogUnavailable):
        ask(epoch=2024.0)


def test_a_spoilt_cache_is_asked_for_again(service, tmp_path):
    ask()
    (stored,) = (tmp_path / "cache" / "webbalign" / "catalogs").glob("*.csv")
    stored.write_text("<html>")
    assert len(ask()) == 3
    assert len(service.asked) == 2


def test_an_empty_field_is_a_catalog_without_stars(service):
    service.answers = [(200, "No data records found matching the request\n", None)]
    assert len(ask()) == 0
    service.answers.append((200, body(), None))
    assert len(ask()) == 3  # nothing empty is kept


@pytest.mark.parametrize("fault", [(500, "oops", None), (503, "", None), (200, body(), 10**5)])
def test_a_passing_fault_is_survived(service, fault):
    service.answers = [fault, fault, (200, body(), None)]
    assert len(ask()) == 3
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    "answer, message, attempts",
    [
        ((500, "oops", None), "HTTP status 500", 3),
        ((404, "oops", None), "HTTP status 404", 1),
        ((200, body(), 10**5), "cut short", 3),
        ((200, "<!DOCTYPE html><html>Maintenance</html>", None), "a web page", 1),
        ((200, "", None), "an empty answer", 1),
        ((200, b"\xff\xfe\x00", None), "no text", 1),
        ((200, "something else entirely\n", None), "without the column", 1),
        ((200, body()[: body().rindex(",15.2")], None), "of 15 values", 1),
        ((200, body(ROWS[:2], count=3), None), "2 stars in an answer that announces 3", 1),
        ((200, body([ROWS[0].replace("339.010", "ninety")]), None), "no catalog", 1),
        ((200, body([ROWS[0].replace("33.950", "133.95")]), None), "no catalog", 1),
        ((200, body([ROWS[0].replace("339.010", "39.010")]), None), "another place", 1),
    ],
)
def test_what_is_no_catalog_says_so_and_what_to_do(service, tmp_path, answer, message, attempts):
    service.answers = [answer]
    with pytest.raises(CatalogUnavailable, match=message) as error:
        ask()
    assert "give a file to abs_refcat" in str(error.value)
    assert "GAIADR3" in str(error.value)
    assert len(service.asked) == attempts
    assert not list(tmp_path.rglob("*.csv"))


def test_nobody_there(service, monkeypatch):
    # the port is free again when its server is gone
    other = http.server.HTTPServer(("127.0.0.1", 0), Service)
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", f"http://127.0.0.1:{other.server_address[1]}")
    other.server_close()
    with pytest.raises(CatalogUnavailable, match=r"refused.*give a file"):
        ask()


def test_no_answer_in_time(service, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(Service, "do_GET", lambda self: release.wait(5))
    monkeypatch.setattr(gaia, "TIMEOUT", 0.05)
    try:
        with pytest.raises(CatalogUnavailable, match="no answer in time"):
            ask()
    finally:
        release.set()


def test_an_address_that_is_none(monkeypatch):
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", "file:///etc")
    with pytest.raises(InputError, match="ASTROMETRIC_CATALOG_URL"):
        ask()


MALFORMED = ["gsss.stsci.edu", "http//gsss", "https://", "https://[::1", "http://a:b", "http://a b"]


@pytest.mark.parametrize("address", [*MALFORMED, "http://a?b=c", "http://a\tb", "ftp://a"])
def test_a_malformed_address_is_an_error_before_any_work(monkeypatch, address):
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", address)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises(InputError, match="is no web address - .* - give one such as") as caught:
        check_reference(AbsoluteCatalog(abs_refcat="gaiadr3"))
    # not the error of a service that is down, after which images are aligned all the same
    assert not isinstance(caught.value, CatalogUnavailable)
    assert caught.value.name == "ASTROMETRIC_CATALOG_URL"
    with pytest.raises(InputError, match="is no web address"):
        ask()
    check_reference(AbsoluteCatalog(abs_refcat=__file__))  # a file needs no service


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:80/x/", "https://[::1]:8080"])
def test_addresses_that_will_do(monkeypatch, address):
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", address)
    assert service_address() == (address or DEFAULT_ADDRESS)


def test_a_cache_that_cannot_be_written_is_no_error(service, tmp_path, monkeypatch):
    (tmp_path / "plain").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "plain"))
    assert len(ask()) == 3


def test_the_sample_answer(data_folder):
    file = data_folder / "gaia_dr3" / "gsss_style_response_NGC7320_epoch2022.53.csv"
    stars = parse_answer(file.read_text(), "GAIADR3")
    assert len(stars) == 53
    assert set(stars.epoch) == {2016.0, 2022.53}
    unknown = np.isnan(stars.motion).any(axis=1)
    assert (stars.epoch[unknown] == 2016.0).all()
    assert (stars.epoch[~unknown] == 2022.53).all()
    assert np.isfinite(stars.sigma).all()
