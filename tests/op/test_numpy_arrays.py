"""What NumPy calls an array: any layout is right, and what JAX has no type for is a TypeError."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cases import OPS, call, problem


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "Fortran's order": np.asfortranarray,
    "every other number": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "from the end": lambda array: array[::-1].copy()[::-1],
    "read-only": read_only,
    "unaligned": lambda array: (
        np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    ),
    "lists": np.ndarray.tolist,
}
WRONG = {
    "the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "objects": lambda array: array.astype(object),
    "words": lambda array: array.astype(str),
    "masked": np.ma.array,
    "keys": lambda array: jnp.broadcast_to(jax.random.key(0, impl="rbg"), array.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(layout):
    arrays = {name: np.asarray(array) for name, array in problem().items()}
    got = call("inference", {name: layout(array) for name, array in arrays.items()})
    np.testing.assert_array_equal(got, call("inference", arrays))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", ["x", "scale", "residual"])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_no_array_of_numbers(op, name, wrong):
    arrays = problem(op)
    with pytest.raises(TypeError, match=f"{name} must be an array.*, got .* of dtype "):
        call(op, arrays | {name: wrong(np.asarray(arrays[name]))})


@pytest.mark.parametrize("op", OPS)
def test_a_number_is_no_image(op):
    with pytest.raises(ValueError, match=r"x must be .*, got shape \(\)"):
        call(op, problem(op) | {"x": np.float32(1)})
