"""Ctrl-C at the right moment."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Yields a function that raises ``KeyboardInterrupt`` if Ctrl-C was pressed by then.

    Raised where the program happens to stand, the exception may get lost: Python drops those of
    garbage-collection callbacks, and JAX has one. Or it may fall between two renames that belong
    together. After the last call of the function the work is done, and Ctrl-C comes too late.
    """
    pressed = threading.Event()

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
