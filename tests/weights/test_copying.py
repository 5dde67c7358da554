"""Arrays of a file become variables: copied ahead by a thread, or as their places say."""

import numpy as np
import pytest

from resfuse import _ext
from resfuse.kernel import extension
from resfuse.weights.copying import Copies
from resfuse.weights.scheme import FLAX, TORCH, Place

SHAPES = [
    (1, 1, 5),
    (1, 3, 1),
    (1, 3, 5),
    (3, 1, 1),
    (15, 3, 9),
    (16, 1, 9),
    (17, 4, 1),
    (32, 2, 3),
    (33, 2, 3),
    (0, 2, 3),
]


def _numbers(shape, dtype=np.float32):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def test_axes_are_reversed():
    arrays = [_numbers(shape) for shape in SHAPES]
    copies = [np.empty(shape[::-1], np.float32) for shape in SHAPES]
    extension.reverse_axes(arrays, copies)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(copy, array.transpose())


X, Y = np.zeros((2, 3, 4), np.float32), np.zeros((4, 3, 2), np.float32)
REFUSED = {
    "number": ([X, X], [Y], ValueError, "as many"),
    "shape": ([X], [X], ValueError, "reverse"),
    "rank": ([X[0]], [Y[:, :, 0].copy()], ValueError, "three axes"),
    "dtype": ([X.astype(np.float64)], [Y], TypeError, "incompatible"),
    "order": ([Y.transpose()], [Y], TypeError, "incompatible"),
    "read-only": ([X], [np.broadcast_to(np.float32(0), (4, 3, 2))], TypeError, "incompatible"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_else_is_reversed(name):
    arrays, copies, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        _ext.reverse_axes(arrays, copies)


@pytest.fixture
def mapped(tmp_path):
    """Makes an array a view of a mapped file, as far from its beginning as is said."""

    def make(array, offset=0):
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        path.write_bytes(b"\0" * offset + array.tobytes())
        whole = np.memmap(path, np.uint8, "r").view(np.ndarray)
        return whole[offset:].view(array.dtype).reshape(array.shape)

    return make


KERNEL = _numbers((17, 6, 3, 2))
PLACES = {  # the place, the layout, the array, and whether a thread can copy it ahead
    "convolution": (Place("x", (17, 6, 3, 2), (3, 2, 0, 1)), TORCH, KERNEL, True),
    "depthwise": (Place("x", (17, 1, 3, 2), (3, 2, 0, 1)), TORCH, KERNEL[:, :1].copy(), True),
    "dense": (Place("x", (17, 6), (1, 0)), TORCH, KERNEL[:, :, 0, 0].copy(), True),
    "vector": (Place("x", (17,), (0,)), TORCH, KERNEL[:, 0, 0, 0].copy(), True),
    "dense as 1x1": (Place("x", (17, 6, 1, 1), (1, 0)), TORCH, KERNEL[:, :, :1, :1].copy(), True),
    "dense as 3x2": (Place("x", (17, 6, 3, 2), (1, 0)), TORCH, KERNEL, False),
    "as it is": (Place("x", (17, 6, 3, 2), (0, 1, 2, 3)), FLAX, KERNEL, True),
    "other axes": (Place("x", (17, 6, 3, 2), (0, 1, 3, 2)), FLAX, KERNEL, False),
    "float16": (Place("x", (17, 6, 3, 2), (3, 2, 0, 1)), TORCH, KERNEL.astype("f2"), False),
}


@pytest.mark.parametrize("available", [True, False], ids=["thread", "plain"])
@pytest.mark.parametrize("offset", [0, 1], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("name", PLACES)
def test_copies_are_what_the_place_says(name, offset, available, mapped, monkeypatch):
    monkeypatch.setattr(extension, "available", lambda: available)
    place, layout, array, _ = PLACES[name]
    array = mapped(array, offset)
    arrays = {"x": array}
    ((path, copy),) = Copies(arrays, layout).values({"path": place}, arrays)
    assert path == "path"
    assert not arrays
    assert copy.dtype == np.float32
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, place.to_ours(array))


@pytest.mark.parametrize("name", PLACES)
def test_threads_copy_what_they_can(name, mapped, monkeypatch):
    place, layout, array, ahead = PLACES[name]
    arrays = {"x": mapped(array)}
    copies = Copies(arrays, layout)
    again = []
    monkeypatch.setattr("resfuse.weights.copying._copied", lambda view: again.append(view) or view)
    list(copies.values({"path": place}, arrays))
    assert bool(again) != ahead


def test_what_has_changed_since_is_copied_again(mapped):
    """A stem for other channels is an array of the caller's, under the same name."""
    place = PLACES["convolution"][0]
    arrays = {"x": mapped(KERNEL)}
    copies = Copies(arrays, TORCH)
    arrays["x"] = KERNEL + 1
    ((_, copy),) = copies.values({"path": place}, arrays)
    np.testing.assert_array_equal(copy, place.to_ours(KERNEL + 1))
