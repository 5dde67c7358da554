"""Standard error of a process that C++ code may end: who has the last word there."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import NoReturn

_signal = ctypes.CDLL(None).signal
_signal.argtypes, _signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p


class LastWord:
    """Ends the process with one message, whoever notices first that it has to end.

    Args:
        signs: What C++ code writes to standard error when it is about to abort the process; any.
        message: What to say instead; the process then ends with code 1.
    """

    def __init__(self, signs: Iterable[str], message: str) -> None:
        self._signs, self._message = [sign.encode() for sign in signs], message
        self._turn = threading.Lock()
        self._shown = os.dup(2)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within, lines of C++ code are read, and passed on unless a sign is in them.

        Python's own messages go where they went, for a progress bar wants to see a terminal.
        """
        source, sink = os.pipe()
        os.dup2(sink, 2)
        os.close(sink)
        reader = threading.Thread(target=self._pass_on, args=(source,), daemon=True)
        reader.start()
        try:
            with (
                open(self._shown, "w", 1, errors="backslashreplace", closefd=False) as direct,
                contextlib.redirect_stderr(direct),
                _slow_abort(),
            ):
                yield
        finally:
            os.dup2(self._shown, 2)
            reader.join(timeout=1)  # not for ever: a child process may hold the pipe open

    def leave(self, code: int, message: str = "") -> NoReturn:
        """Ends the process at once. Of several threads that call this, one has its way."""
        self._turn.acquire()  # for good
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        # Not by print: sys.stderr may be redirected, and takes a line and its end apart.
        os.write(self._shown, message.encode())
        os._exit(code)

    def _pass_on(self, source: int) -> None:
        with open(source, "rb") as lines:
            for line in lines:
                if any(sign in line for sign in self._signs):
                    self.leave(1, self._message)
                with self._turn:
                    os.write(self._shown, line)


@contextlib.contextmanager
def _slow_abort() -> Iterator[None]:
    """Within, a thread that aborts the process sleeps first, so that others can still speak.

    The handler is the C function itself, as Python's own run too late, and those of ctypes wait
    for the interpreter. It sleeps for as many seconds as the signal's number says, which is 6.
    """
    sleep = ctypes.cast(ctypes.CDLL(None).sleep, ctypes.c_void_p)
    previous = _signal(signal.SIGABRT, sleep)
    try:
        yield
    finally:
        _signal(signal.SIGABRT, previous)
