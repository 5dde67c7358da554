"""Results appear whole or not at all: written beside their place, moved there at the end."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from resfuse.cli.refuse import refuse


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A temporary directory inside ``directory``, gone at the end however that comes.

    Making it shows, before the work begins, that results can be written; if they cannot, the
    command is refused. Directories that were made for it go too, unless something was published.
    """
    try:
        made = [each for each in (directory, *directory.parents) if not each.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".resfuse-", dir=directory)
    except FileExistsError:
        refuse(f"cannot write to {directory}: it is not a directory")
    except OSError as error:
        refuse(f"cannot write to {directory}: {error.strerror}")
    try:
        with scratch as name:
            yield Path(name)
    finally:
        with contextlib.suppress(OSError):  # not empty: something was published
            for each in made:
                each.rmdir()


def publish(scratch: Path, *targets: Path) -> None:
    """Moves ``scratch / target.name`` to each ``target``, replacing what was there."""
    for target in targets:
        if target.exists():  # a directory cannot be renamed over another
            target.rename(scratch / f"old-{target.name}")
        (scratch / target.name).rename(target)
