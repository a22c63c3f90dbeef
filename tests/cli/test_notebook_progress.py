"""Progress in a notebook, by a stand-in for IPython."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from webbalign.cli.progress import BarProgress, NotebookProgress, PlainProgress, progress_bar


@pytest.fixture
def shown(monkeypatch):
    """Everything that is displayed: a list of the states of each bar."""
    bars = []

    def display(html, display_id):
        assert display_id
        bars.append([html])
        return SimpleNamespace(update=bars[-1].append)

    module, inner = ModuleType("IPython"), ModuleType("IPython.display")
    inner.display, inner.HTML = display, str
    module.display = inner
    module.get_ipython = lambda: SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return bars


def test_a_notebook_has_a_bar_for_each_step(shown):
    progress = progress_bar()
    assert isinstance(progress, NotebookProgress)
    progress = NotebookProgress(interval=0.0)
    progress.start("<align>", 4)
    progress.advance()
    progress.advance(3)
    progress.start("klip")
    progress.advance()
    progress.close()
    progress.close()
    first, second = shown
    assert 'value="0"' in first[0]
    assert 'max="4" value="1"' in first[1]
    assert "left" in first[1]
    assert 'max="4" value="4"' in first[-1]
    assert "left" not in first[-1]
    assert "&lt;align&gt;" in first[0]
    assert "<align>" not in "".join(first)
    assert second[-1].startswith("klip: 1,")


def test_few_drawings_of_many_units(shown):
    progress = NotebookProgress(interval=60.0)
    progress.start("klip", 1000)
    for _ in range(1000):
        progress.advance()
    progress.done()
    assert len(shown[0]) == 2
    assert 'value="1000"' in shown[0][-1]


def test_elsewhere_there_are_lines_or_bars(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(progress_bar(), PlainProgress)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(progress_bar(), BarProgress)
