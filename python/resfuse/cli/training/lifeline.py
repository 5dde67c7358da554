"""How the processes of a run learn that another one is gone: a word every few seconds."""

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

EVERY = 5  # seconds between words
SILENT_FOR = 45  # seconds after which a process that says nothing counts as dead

ALIVE, DONE = b".", b"!"


class Lifeline:
    """Talks to each of ``peers``, and calls ``lost`` when one ends or falls silent too early.

    Process 0 is connected to all others, and they to process 0: when one of them is gone, it ends,
    and with it the others.
    """

    def __init__(self, peers: Sequence[socket.socket], lost: Callable[[], object]) -> None:
        self._peers, self._lost = peers, lost
        self._done = threading.Event()
        self._listeners = [
            threading.Thread(target=self._listen, args=(peer,), daemon=True) for peer in peers
        ]
        for thread in (*self._listeners, threading.Thread(target=self._talk, daemon=True)):
            thread.start()

    def close(self) -> None:
        """Says that all is done here, and waits until the peers have said so, too."""
        self._done.set()
        for thread in self._listeners:
            thread.join()

    def _talk(self) -> None:
        while not self._done.wait(EVERY):
            self._say(ALIVE)
        self._say(DONE)

    def _say(self, word: bytes) -> None:
        for peer in self._peers:
            with contextlib.suppress(OSError):  # gone, as the one that listens notices
                peer.sendall(word)

    def _listen(self, peer: socket.socket) -> None:
        peer.settimeout(SILENT_FOR)
        word = ALIVE
        while word == ALIVE:
            try:
                word = peer.recv(1)
            except OSError:
                word = b""
        if word != DONE:
            self._lost()
