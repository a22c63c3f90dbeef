"""A web server on this machine whose files can be changed, cut short and refused."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from webbalign.products import _transfer


@dataclass
class File:
    """A file of the server.

    Attributes
    ----------
    content : bytes
    etag : str
        Empty: it tells neither an ETag nor a time.
    statuses : list of int
        Of the next answers, instead of 200.
    cuts : list of int
        After how many bytes the next downloads end.
    then : bytes or None
        What replaces the content (and its ETag) after the next download.
    """

    content: bytes
    etag: str = "1"
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    then: bytes | None = None


class Server:
    """Files by path, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.asked: list[str] = []
        self.port = 0

    def address(self, path: str, access: str = "") -> str:
        return f"http://{access}127.0.0.1:{self.port}/{path}"

    def put(self, path: str, content: bytes, **more) -> str:
        self.files[path] = File(content, **more)
        return self.address(path)

    def put_folder(self, folder: Path, under: str = "") -> None:
        for path in folder.iterdir():
            if path.is_file():
                self.put(f"{under}{path.name}", path.read_bytes())

    @property
    def downloads(self) -> list[str]:
        return [line.split()[1] for line in self.asked if line.startswith("GET")]


@contextmanager
def serving():
    """Run a server."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            self.answer(True)

        def answer(self, with_content):
            path = unquote(urlsplit(self.path).path).lstrip("/")
            server.asked.append(f"{self.command} {path}")
            file = server.files.get(path)
            status = 404 if file is None else file.statuses.pop(0) if file.statuses else 200
            self.send_response(status)
            content = b"" if status != 200 else file.content
            self.send_header("Content-Length", str(len(content)))
            if status == 200 and file.etag:
                self.send_header("ETag", f'"{file.etag}"')
            self.end_headers()
            if with_content and status == 200:
                self.wfile.write(content[: file.cuts.pop(0)] if file.cuts else content)
                if file.then is not None:
                    file.content, file.etag, file.then = file.then, file.etag + "+", None

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.port = running.server_port
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@contextmanager
def bucket_service(monkeypatch, name, secret):
    """A service like S3 on this machine with one bucket; yields its file system."""
    s3fs = pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    running = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    _transfer._has_credentials.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir(name)
    yield system
    system.rm(name, recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()
    _transfer._has_credentials.cache_clear()
    running.stop()
