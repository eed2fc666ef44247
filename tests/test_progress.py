"""What a long job says: a first line within 5 s, one every 30 s, one voice, advice once."""

import sys
import threading

import pytest

from sdesam.engine import progress
from sdesam.engine.progress import duration, reporting, speaking


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(progress, "_FIRST", 0.02)
    monkeypatch.setattr(progress, "_LATER", 0.02)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def wait_for(capsys, text, tries=200):
    said = ""
    for _ in range(tries):
        threading.Event().wait(0.01)
        said += capsys.readouterr().err
        if text in said:
            return said
    raise AssertionError(f"{text!r} was not said, but {said!r}")


def test_the_first_line_comes_within_five_seconds_and_then_one_every_thirty():
    assert progress._FIRST + 0.6 <= 5.0  # what Python and the command line need before
    assert progress._LATER == 30.0


def test_a_silent_job_says_that_it_is_at_work(capsys, quick):
    with reporting(True, 10, "sam"):
        wait_for(capsys, "sam: at work for 0 s, nothing is finished yet")
    capsys.readouterr()
    threading.Event().wait(0.06)
    assert capsys.readouterr().err == ""  # silent again


def test_the_time_left_is_that_of_the_later_pieces(capsys, quick, clock):
    with reporting(True, 10, "sam") as advance:
        clock[0] = 50.0  # the first piece also compiles
        advance(1)
        clock[0] = 51.0
        advance(1)
        wait_for(capsys, "sam: 20 %, about 8 s left")
        advance(1, left=3.0)  # whoever knows better
        wait_for(capsys, "sam: 30 %, about 3 s left")


def test_advice_is_given_once_and_only_where_more_than_a_minute_is_ahead(capsys, clock):
    with reporting("take fewer", 100, "sam") as advance:
        advance(1)
        assert capsys.readouterr().err == ""  # the first piece tells too little
        for _ in range(3):
            clock[0] += 2.0
            advance(1)
    assert capsys.readouterr().err == "sam: about 3 min ahead; take fewer\n"
    with reporting("take fewer", 100, "sam") as advance:
        for _ in range(3):
            clock[0] += 0.1
            advance(1)
    assert capsys.readouterr().err == ""


def test_one_voice_of_the_innermost_job(capsys, quick):
    with speaking(lambda: "outer"):
        wait_for(capsys, "outer")
        with speaking(lambda: "inner"):
            assert len(progress._SPEAKERS) == 1
            wait_for(capsys, "inner")
            with speaking(None):
                threading.Event().wait(0.05)
                capsys.readouterr()
                threading.Event().wait(0.05)
                assert capsys.readouterr().err == ""
        wait_for(capsys, "outer")
    assert not progress._JOBS


def test_an_error_ends_the_voice(quick):
    with pytest.raises(KeyError), speaking(lambda: "x"):
        raise KeyError
    assert not progress._JOBS


def test_it_speaks_on_whoever_ends_first_and_whatever_fails(capsys, quick, monkeypatch):
    """Each of these once silenced it for the rest of the process."""
    ended, began = threading.Event(), threading.Event()

    def first():
        with speaking(lambda: "first"):
            began.set()
            ended.wait(5)

    thread = threading.Thread(target=first)
    thread.start()
    began.wait(5)
    with speaking(lambda: "second"):
        ended.set()
        thread.join()
        capsys.readouterr()
        wait_for(capsys, "second")
        with speaking(None), speaking(lambda: "third"):
            with speaking(None):
                pass
            wait_for(capsys, "third")
        with speaking(lambda: 1 / 0):
            threading.Event().wait(0.05)
        wait_for(capsys, "second")
    while progress._SPEAKERS:
        threading.Event().wait(0.01)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError), speaking(lambda: "x"):
            pass
    with speaking(lambda: "again"):
        wait_for(capsys, "again")


def test_nothing_is_said_where_nothing_was_asked(capsys, quick):
    with reporting(False, 10, "sam") as advance:
        threading.Event().wait(0.05)
        advance(3)
    assert capsys.readouterr().err == ""


def test_durations():
    assert [duration(s) for s in (0.4, 119, 121, 7300)] == ["0 s", "119 s", "2 min", "2.0 h"]


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with reporting(True, 10, "sam") as advance:
        advance(5)
        advance(5)
    assert "sam" in capsys.readouterr().err
