"""The bar neither changes nor swallows anything."""

import io
import sys

import pytest
from pack.host.standalone.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_items_pass_through_lazily_and_in_order():
    taken = []
    for item in progress(iter(range(3)), 3, "counting"):
        taken.append(item)
    assert taken == [0, 1, 2]
    endless = progress(iter(int, 1), 10, "endless")
    assert next(iter(endless)) == 0


def test_a_terminal_shows_the_label_the_count_and_the_time_left(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress([1, 2], 2, "Making the sound")) == [1, 2]
    assert "Making the sound" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert "<" in terminal.getvalue()  # elapsed < left


def test_a_log_file_stays_clean(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress([1, 2], 2, "Making the sound")) == [1, 2]
    assert log.getvalue() == ""


def test_ctrl_c_passes_and_closes_what_was_being_taken():
    closed = []

    def items():
        try:
            yield 1
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        list(progress(items(), 2, "interrupted"))
    assert closed == [True]
