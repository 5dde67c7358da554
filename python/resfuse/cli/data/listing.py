"""What of a folder is data: not what is hidden, nor what systems and tools leave behind."""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NoReturn

# By macOS and its archives, Jupyter and Python, Synology and QNAP, Windows, and file systems.
LEFT_BEHIND = re.compile(
    r"\..*|__macosx|__pycache__|@eadir|@__thumb|#recycle|#snapshot|\$recycle\.bin|recycler"
    r"|system volume information|lost\+found",
    re.IGNORECASE | re.DOTALL,
)


def is_data(name: str) -> bool:
    """Whether a file or folder of this name may be data."""
    return not LEFT_BEHIND.fullmatch(name)


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in ``folder``, and of links to folders, sorted."""
    return sorted(each.name for each in folder.iterdir() if is_data(each.name) and each.is_dir())


def files_in(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """The files with one of the suffixes in ``folder`` and below.

    Pipes, sockets and devices, which could be read for ever, are left out, and so is what lies
    behind links to folders. Links to nothing are there: whoever reads them shall say so.

    Raises:
        OSError: A folder cannot be read.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = filter(is_data, folders)
        for name in filter(is_data, names):
            path = Path(parent, name)
            if path.suffix.lower() in suffixes and (path.is_file() or not path.exists()):
                yield path


def _raise(error: OSError) -> NoReturn:
    raise error
