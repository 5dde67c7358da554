"""Files of weights with a byte that is wrong."""

from resfuse.weights.errors import WeightsError
from resfuse.weights.files import read_arrays


def assert_arrays_or_an_error(changed, data, indices, random):
    """Whatever byte of ``data`` at ``indices`` is another one, in turn, in the file ``changed``."""
    for index in indices:
        bytes_ = bytearray(data)
        bytes_[index] ^= int(random.integers(1, 256))
        changed.write_bytes(bytes_)
        try:
            read = read_arrays(changed)
        except WeightsError:
            continue
        assert all(array.nbytes <= len(data) for array in read.values())
