"""Where results go: for one process at a time, and whole or not at all."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from resfuse.cli.ending import refuse


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Makes ``directory``, for this process alone: another one that claims it is refused.

    The lock is the directory's own, and goes with the process, however that ends. It protects
    nothing on file systems that have no locks for directories, as some of networks.
    """
    try:
        str(directory.absolute()).encode()
    except UnicodeEncodeError:  # Orbax knows no other names
        refuse(f"cannot write to {directory}: its name is not UTF-8")
    with _there(directory):
        with _refusing(directory):
            handle = os.open(directory, os.O_RDONLY)
        try:
            with _refusing(directory):
                _lock(handle)
            yield
        finally:
            os.close(handle)


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A temporary directory inside ``directory``, gone at the end however that comes.

    Making it shows, before the work begins, that results can be written.
    """
    with _there(directory):
        with _refusing(directory):
            scratch = tempfile.TemporaryDirectory(prefix=".resfuse-", dir=directory)
        with scratch as name:
            yield Path(name)


def publish(scratch: Path, *targets: Path) -> None:
    """Moves ``scratch / target.name`` to each ``target``, replacing what was there."""
    for target in targets:
        if target.exists():  # a directory cannot be renamed over another
            target.rename(scratch / f"old-{target.name}")
        (scratch / target.name).rename(target)


@contextlib.contextmanager
def _there(directory: Path) -> Iterator[None]:
    """Makes a directory; it and those made above it go again, unless something is in them then."""
    with _refusing(directory):
        made = [each for each in (directory, *directory.parents) if not each.exists()]
        directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


@contextlib.contextmanager
def _refusing(directory: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        refuse(f"cannot write to {directory}: it is not a directory")
    except BlockingIOError:
        refuse(f"cannot write to {directory}: another command is writing there")
    except OSError as error:
        refuse(f"cannot write to {directory}: {error.strerror}")


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # there are no locks
        return
