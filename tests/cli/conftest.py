"""What tests of the command line share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from webbalign.cli.commands import COMMANDS


@pytest.fixture
def probe(monkeypatch):
    """Replace the function of the command asn; return a way to set what it does."""

    def install(function):
        command = replace(COMMANDS["asn"])
        object.__setattr__(command, "load", lambda: function)
        monkeypatch.setitem(COMMANDS, "asn", command)

    return install
