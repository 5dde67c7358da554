"""Entries of a zip as they lie in the mapped file: nothing is unpacked, so nothing can grow."""

import zipfile

import numpy as np

from resfuse.weights.errors import WeightsError

__all__ = ["entry"]

_LOCAL_HEADER = 30  # bytes before an entry's name and extra field, of these lengths:
_LENGTHS = slice(26, 30)


def entry(data: np.ndarray, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An entry's bytes, as a view.

    Raises:
        WeightsError: If there is none of this name, or it is compressed, encrypted or cut off.
    """
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise WeightsError(f"the zip lacks {name}") from None
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise WeightsError(
            f"{name} is compressed or encrypted, which torch's and Keras' files never are"
        )
    header = data[info.header_offset : info.header_offset + _LOCAL_HEADER].tobytes()
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        raise WeightsError(f"{name} has no header where the zip's directory says")
    sizes = np.frombuffer(header[_LENGTHS], "<u2")
    start = info.header_offset + _LOCAL_HEADER + int(sizes.sum())
    found = data[start : start + info.file_size]
    if len(found) != info.file_size:
        raise WeightsError(f"{name} ends beyond the file: is it cut off?")
    return found
