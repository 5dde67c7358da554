"""Hugging Face's ``datasets``, from files, from its cache, or from the hub."""

import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resfuse.cli.data.dataset import BadData
from resfuse.cli.data.listing import files_in

HUB = "https://huggingface.co"
SUFFIXES = (".parquet",)
PATIENCE = 5  # seconds to wait for the hub's first word

Splits = Mapping[str, Any]
"""``datasets.Dataset`` by the name of the split."""


def files(path: Path) -> Splits:
    """The splits of a Parquet file, or of the Parquet files in a folder."""
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _load("parquet", data_files=str(path), offline=True)
    if not path.is_dir():
        raise BadData(f"{path}: expected a folder or a file .parquet")
    try:
        return _load(str(path), offline=True)
    except BadData:
        _check_alike(sorted(files_in(path, SUFFIXES)))
        raise


def named(name: str) -> Splits:
    """The splits of ``NAME`` or ``NAME:CONFIGURATION`` on the hub; without a network, as cached."""
    path, _, configuration = name.partition(":")
    offline = not _hub_answers()
    try:
        return _load(path, name=configuration or None, offline=offline)
    except BadData:
        if not offline:
            raise
        raise BadData(
            "no such file or folder, not in the cache of datasets, and the hub cannot be reached"
        ) from None


def _check_alike(files: Sequence[Path]) -> None:
    """Names the file that is broken or has other columns; the library says only that one has."""
    columns = [_columns(file) for file in files]
    for file, found in zip(files, columns, strict=True):
        if set(found) != set(columns[0]):
            there, here = (", ".join(names) for names in (columns[0], found))
            raise BadData(f"{file}: expected columns {there} as in {files[0]}, found {here}")


def _columns(file: Path) -> list[str]:
    from pyarrow import ArrowException, parquet

    try:
        names: list[str] = parquet.read_schema(file).names
    except ArrowException as error:
        raise BadData(f"{file}: broken Parquet file: {str(error).splitlines()[0]}") from error
    return names


def _load(path: str, *, offline: bool, **options: str | None) -> Splits:
    if offline:  # looked at when the library is imported; without it, it tries for minutes
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # errors are told in one line
    try:
        return datasets.load_dataset(path, **options)
    except Exception as error:  # whatever its many readers stumble over, a full disk too
        reason = str(error.__cause__ or error) or type(error).__name__
        raise BadData(reason.splitlines()[0]) from error


def _hub_answers() -> bool:
    request = urllib.request.Request(os.environ.get("HF_ENDPOINT", HUB), method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True
