"""A process says its last word itself, though C++ code writes and aborts as it likes."""

import subprocess
import sys

import pytest

from resfuse.cli.training import last_word

# It runs the file without the package, which takes seconds to import. As in C++ code, ``abort``
# does not hold the interpreter.
PROGRAM = f"""
import ctypes, io, os, runpy, sys, threading
LastWord = runpy.run_path({last_word.__file__!r})["LastWord"]
native = lambda text: os.write(2, text.encode())
abort = ctypes.CDLL(None).abort
last = LastWord(["never", "about to end"], "the last word\\n")
with last.kept():
    %s
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("then", "code", "said"),
    [
        (r"native('one\ntwo')", 0, "one\ntwoafter\n"),
        (r"native('one\nabout to end\nwhy\n'); abort()", 1, "one\nthe last word\n"),
        (r"sys.stderr = io.StringIO(); native('about to end\n'); abort()", 1, "the last word\n"),
        (r"last.leave(3, 'first\n')", 3, "first\n"),
        (
            r"for _ in range(9): threading.Thread(target=last.leave, args=(3, 'I\n')).start()",
            3,
            "I\n",
        ),
    ],
)
def test_one_has_the_last_word(then: str, code: int, said: str) -> None:
    command = [sys.executable, "-c", PROGRAM % then]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)
