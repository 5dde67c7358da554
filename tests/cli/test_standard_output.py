"""Standard output that cannot be written ends a command in one line, and Ctrl-C ends it at once."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cli_driver import ended, resfuse_into
from resfuse.cli import app, main

FULL = "resfuse: cannot write: No space left on device"


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("arguments", [["info"], ["--help"], ["train", "--help"]])
@pytest.mark.parametrize("buffering", [-1, 1])
def test_full(arguments: list[str], buffering: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", buffering) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert ended(*arguments) == FULL


@pytest.mark.parametrize("arguments", [["info"], ["--help"]])
def test_a_reader_that_has_seen_enough(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, sink = os.pipe()
    os.close(source)
    with contextlib.suppress(BrokenPipeError), open(sink, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert ended(*arguments) == 1
    assert capsys.readouterr().err == ""


def test_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert ended("info") == "resfuse: standard output is closed"


def test_the_interpreter_adds_nothing_when_it_ends() -> None:
    with open("/dev/full", "w") as full:
        result = resfuse_into(full, "info")
    assert (result.returncode, result.stderr) == (1, f"{FULL}\n")


@pytest.mark.parametrize(
    ("before", "within"),
    [(signal.default_int_handler, signal.SIG_DFL), (signal.SIG_IGN, signal.SIG_IGN)],
)
def test_ctrl_c_ends_a_command_that_has_nothing_to_lose(
    before: Any, within: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(app, "app", lambda: seen.append(signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, before)
    main()
    assert seen == [within]
