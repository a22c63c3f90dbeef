import errno
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.elsewhere import bucket_service, serving
from webbalign.core.errors import InputError
from webbalign.products import _transfer, remote
from webbalign.products.associations import load_association
from webbalign.products.image_associations import load_image_association
from webbalign.products.inputs import require_file

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_transfer, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(remote, "_origins", {})
    return tmp_path / "cache" / "webbalign" / "remote"


@pytest.fixture
def server():
    with serving() as running:
        yield running


def another_process(monkeypatch):
    monkeypatch.setattr(remote, "_origins", {})


def fetched(cache):
    return sorted(path for path in cache.glob("*/*/*") if path.is_file() and path.name[0] != ".")


def test_a_file_is_fetched_once(server, cache, monkeypatch):
    address = server.put("a/x.fits", b"stars")
    path = remote.local(address)
    assert (path.name, path.read_bytes()) == ("x.fits", b"stars")
    another_process(monkeypatch)
    assert remote.local(address) == path
    assert require_file(address, "stars") == path
    assert server.downloads == ["a/x.fits"]
    assert fetched(cache) == [path]


def test_a_file_that_has_changed_is_fetched_anew(server):
    address = server.put("x.fits", b"first")
    first = remote.local(address)
    server.put("x.fits", b"other", etag="2")
    second = remote.local(address)
    assert second.read_bytes() == b"other"
    # a run that is reading the former state goes on doing so
    assert first.read_bytes() == b"first"


def test_former_states_do_not_stay_for_ever(server, cache):
    address = server.put("x.fits", b"first")
    first = remote.local(address)
    os.utime(first.parent, (0, 0))
    server.put("x.fits", b"other", etag="2")
    assert fetched(cache) != [second := remote.local(address)] or not first.exists()
    assert fetched(cache) == [second]


def test_a_file_of_which_nothing_tells_a_change_is_fetched_by_every_process(server, monkeypatch):
    address = server.put("x.fits", b"first", etag="")
    assert remote.local(address) == remote.local(address)
    assert len(server.downloads) == 1
    another_process(monkeypatch)
    server.put("x.fits", b"other", etag="")
    assert remote.local(address).read_bytes() == b"other"


def test_a_connection_that_is_cut_is_tried_again(server, caplog):
    address = server.put("x.fits", b"0123456789" * 1000, cuts=[5000])
    assert remote.local(address).stat().st_size == 10_000
    assert "once more" in caplog.text


def test_a_part_is_never_taken_for_the_whole(server, cache, monkeypatch):
    address = server.put("x.fits", b"0123456789" * 1000, cuts=[5000, 0, 9999])
    with pytest.raises(InputError, match=r"not to be had .* - .*x\.fits - "):
        remote.local(address)
    assert fetched(cache) == []
    another_process(monkeypatch)
    assert remote.local(address).stat().st_size == 10_000


def test_a_damaged_copy_is_replaced(server, monkeypatch):
    path = remote.local(address := server.put("x.fits", b"whole"))
    path.write_bytes(b"who")
    another_process(monkeypatch)
    assert remote.local(address).read_bytes() == b"whole"


def test_a_file_that_is_replaced_in_the_middle_is_fetched_anew(server):
    address = server.put("x.fits", b"first", then=b"other")
    assert remote.local(address).read_bytes() == b"other"


@pytest.mark.parametrize(
    "statuses, words",
    [([403, 403], "access denied"), ([401, 401], "access denied"), ([404, 404], "no such file"),
     ([400, 400], "HTTP status 400"), ([500] * 6, "not to be had")],
)  # fmt: skip
def test_what_the_server_refuses_is_told(server, statuses, words):
    address = server.put("x.fits", b"", statuses=list(statuses))
    with pytest.raises(InputError, match=words):
        remote.local(f"{address}?sig={SECRET}")
    # only what may pass is asked for again
    assert len(server.asked) == len(statuses)


def test_a_server_that_comes_back_is_waited_for(server):
    address = server.put("x.fits", b"stars", statuses=[503, 503])
    assert remote.local(address).read_bytes() == b"stars"


def test_nobody_there_is_one_error():
    with pytest.raises(
        InputError, match=r"^not to be had \(Cannot conn.* - http://127\.0\.0\.1:9/x - "
    ):
        remote.local("http://127.0.0.1:9/x")


def test_nothing_that_gives_access_is_shown_or_kept(server, cache, caplog):
    caplog.set_level(logging.DEBUG, logger="webbalign")
    server.put("x.fits", b"stars", statuses=[500, 500, 200], cuts=[2])
    access = f"me:{SECRET}@"
    address = server.address("x.fits", access) + f"?X-Amz-Signature={SECRET}"
    path = remote.local(address)
    for missing in ("y.fits", "http://["):
        with pytest.raises(InputError) as told:
            remote.local(server.address(missing, access) + f"?sig={SECRET}")
        assert SECRET not in str(told.value)
        assert told.value.__suppress_context__
    with pytest.raises(InputError) as told:
        remote.local(f"http://me:{SECRET}@[/x?sig={SECRET}")
    assert SECRET not in str(told.value)
    assert "x.fits?..." in caplog.text
    assert SECRET not in caplog.text
    assert SECRET not in remote.shown(path)
    for file in cache.rglob("*"):
        assert SECRET not in str(file)
        assert file.is_dir() or SECRET.encode() not in file.read_bytes()


def test_a_new_signature_is_not_a_new_file(server):
    address = server.put("x.fits", b"stars")
    signed = [remote.local(f"{address}?X-Amz-Signature={k}&Expires={k}") for k in (1, 2)]
    assert signed[0] == signed[1]
    assert remote.local(f"{address}?version=2") != signed[0]
    assert len(server.downloads) == 2


def test_several_at_once_fetch_a_file_once(server):
    address = server.put("x.fits", bytes(10**6))
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(remote.local, [address] * 16))
    assert len(paths) == 1
    assert len(server.downloads) == 1


@pytest.mark.slow
def test_several_processes_fetch_a_file_once(server):
    address = server.put("x.fits", bytes(10**7))
    code = "import sys; from webbalign.products.remote import local; print(local(sys.argv[1]))"
    runs = [
        subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({run.communicate()[0] for run in runs}) == 1
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert len(server.downloads) == 1


def test_several_files_come_together_and_the_size_is_told(server, caplog):
    caplog.set_level(logging.INFO, logger="webbalign")
    names = [server.put(f"{k}.fits", bytes(k + 1)) for k in range(6)]
    paths = remote.all_local([*names, "here.fits"][:6])
    assert [path.stat().st_size for path in paths] == [1, 2, 3, 4, 5, 6]
    assert "6 files (0.0 MB) from elsewhere" in caplog.text
    with pytest.raises(InputError, match="no such file"):
        remote.all_local([*names, server.address("none.fits")])


def test_a_full_disk_is_told(server, cache, monkeypatch, request):
    async def no_room(self, rpath, lpath, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    from fsspec.implementations.http import HTTPFileSystem

    # (its instances keep the methods that their class had)
    HTTPFileSystem.clear_instance_cache()
    request.addfinalizer(HTTPFileSystem.clear_instance_cache)
    monkeypatch.setattr(HTTPFileSystem, "_get_file", no_room)
    with pytest.raises(InputError, match=rf"x\.fits cannot be written \(No space.* - {cache} - "):
        remote.local(server.put("x.fits", b"stars"))
    assert fetched(cache) == []


def test_without_the_extra_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        InputError, match=r"not installed.*pip install 'webbalign\[cloud\]'"
    ) as told:
        remote.local(f"s3://bucket/x.fits?sig={SECRET}")
    assert SECRET not in str(told.value)
    assert remote.local("here/x.fits").name == "x.fits"


@pytest.mark.parametrize(
    "module, address", [("aiohttp", "https://127.0.0.1/x"), ("s3fs", "s3://bucket/x")]
)
def test_fsspec_alone_is_not_enough(monkeypatch, module, address):
    monkeypatch.setitem(sys.modules, module, None)
    # (file systems that were imported before are forgotten; there is a mapping of that name, too)
    known = sys.modules["fsspec.registry"]._registry
    for scheme in ("http", "https", "s3"):
        monkeypatch.delitem(known, scheme, raising=False)
    with pytest.raises(InputError, match=r"not installed.*pip install 'webbalign\[cloud\]'"):
        remote.local(address)


def test_a_long_download_tells_how_far_it_is(server, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="webbalign")
    monkeypatch.setattr(_transfer, "TELL", -1.0)
    address = server.put("x.fits", bytes(12 * 10**6))
    remote.local(f"{address}?sig={SECRET}")
    assert f"fetching {address}?...: " in caplog.text
    assert " of 12 MB so far" in caplog.text


# Associations ---------------------------------------------------------------------------------


def association(*members):
    rows = [{"expname": name, "exptype": kind, **more} for name, kind, more in members]
    content = {"asn_id": "c1001", "products": [{"name": "p", "members": rows}]}
    return json.dumps(content).encode()


def test_members_are_relative_to_the_address_of_their_association(server, tmp_path, monkeypatch):
    for name in ("a/b/s_calints.fits", "a/p_calints.fits", "q_calints.fits"):
        server.put(name, name.encode())
    (tmp_path / "here_calints.fits").write_bytes(b"here")
    content = association(
        ("s_calints.fits", "science", {}), ("../p_calints.fits", "psf", {}),
        ("/q_calints.fits", "psf", {}), ("t_cal.fits", "target_acquisition", {}),
    )  # fmt: skip
    address = server.put("a/b/x_asn.json", content)
    found = load_association(address)
    assert [path.read_text() for path in found.members] == [
        "a/b/s_calints.fits", "a/p_calints.fits", "q_calints.fits"
    ]  # fmt: skip
    assert (found.table_name, found.ignored) == (
        "x_asn.json", (("t_cal.fits", "target_acquisition"),)
    )  # fmt: skip
    assert "a/b/t_cal.fits" not in server.downloads
    # another process is given the path here, and knows nothing of the address
    path = remote.local(address)
    another_process(monkeypatch)
    assert load_association(path).members == found.members


def test_a_local_association_may_name_files_elsewhere(server, tmp_path):
    far = server.put("p_calints.fits", b"far")
    path = tmp_path / "x_asn.json"
    path.write_bytes(association(("s_calints.fits", "science", {}), (far, "psf", {})))
    found = load_association(path)
    assert found.science == (tmp_path / "s_calints.fits",)
    assert found.psf[0].read_bytes() == b"far"


def test_images_and_their_catalogs_come_from_elsewhere(server):
    server.put("i/a_cal.fits", b"image")
    server.put("c/a_cat.ecsv", b"stars")
    member = ("a_cal.fits", "science", {"tweakreg_catalog": "../c/a_cat.ecsv"})
    empty = ("b_cal.fits", "science", {"tweakreg_catalog": ""})
    server.put("i/b_cal.fits", b"image")
    found = load_image_association(server.put("i/x_asn.json", association(member, empty)))
    assert [path.read_bytes() for path in found.paths] == [b"image"] * 2
    assert found.catalogs["b_cal.fits"] == ""
    with open(found.catalogs["a_cal.fits"], "rb") as file:
        assert file.read() == b"stars"


# S3 -------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch):
    with bucket_service(monkeypatch, "sky", SECRET) as system:
        yield system


def test_an_association_in_a_bucket(bucket, caplog):
    caplog.set_level(logging.DEBUG, logger="webbalign")
    content = association(("s_calints.fits", "science", {}), ("../p/r_calints.fits", "psf", {}))
    bucket.pipe({"sky/a/x_asn.json": content, "sky/a/s_calints.fits": b"science",
                 "sky/p/r_calints.fits": b"psf"})  # fmt: skip
    found = load_association("s3://sky/a/x_asn.json")
    assert [path.read_bytes() for path in found.members] == [b"science", b"psf"]
    bucket.pipe("sky/a/s_calints.fits", b"SCIENCE")
    assert load_association("s3://sky/a/x_asn.json").science[0].read_bytes() == b"SCIENCE"
    assert "fetched s3://sky/a/s_calints.fits" in caplog.text
    with pytest.raises(InputError, match="no such file - s3://sky/none - "):
        remote.local("s3://sky/none")
    with pytest.raises(InputError, match="no such file - s3://nobucket/none - "):
        remote.local("s3://nobucket/none")
    with pytest.raises(InputError, match="a folder, not a file - s3://sky/a - "):
        remote.local("s3://sky/a")
    assert SECRET not in caplog.text


def test_images_of_a_folder_in_a_bucket(bucket):
    bucket.pipe({"sky/F300M/b_cal.fits": b"b", "sky/F300M/a_cal.fits": b"a",
                 "sky/F300M/a_i2d.fits": b"i"})  # fmt: skip
    found = remote.images_elsewhere("s3://sky/F300M")
    assert [path.read_bytes() for path in found] == [b"a", b"b"]
    with pytest.raises(InputError, match=r"no \*_cal\.fits"):
        bucket.pipe("sky/F150W/x.txt", b"")
        remote.images_elsewhere("s3://sky/F150W")


def test_a_signed_address(bucket):
    """Only GET is signed: the server refuses to be asked for the headers alone."""
    bucket.pipe("sky/x.fits", b"stars")
    address = bucket.sign("sky/x.fits")
    assert remote.local(address).read_bytes() == b"stars"
    assert "Signature" not in remote.shown(remote.local(address))
