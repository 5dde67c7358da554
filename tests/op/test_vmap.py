"""``vmap``, over whatever arrays: each example as it would be alone, and no copies of weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agreement
from cases import OPS, call, exact, kernel_calls, problem

MAPPED = {  # the names of the arguments that have an axis of examples, and where it is
    "images": {"x": 0, "residual": 0},
    "images at the end": {"x": 4, "residual": 2},
    "x": {"x": 0},
    "residual": {"residual": 0},
    "kernel": {"kernel": 0},
    "kernel at the end": {"kernel": -1},
    "scale": {"scale": 0},
    "everything": dict.fromkeys(problem(), 0),
}
CASES = [
    *(("inference", name) for name in MAPPED),
    ("training", "images"),
    ("training", "residual"),
    ("training", "kernel at the end"),
    ("training", "scale"),
]
SIZE = 3


def stacked(arrays, axes):
    """``SIZE`` different examples of the arrays of ``axes``."""
    grow = np.linspace(0.5, 1.5, SIZE, dtype=np.float32)
    return arrays | {
        name: np.stack([g * np.asarray(arrays[name]) for g in grow], axis)
        for name, axis in axes.items()
    }


def apply(op, implementation="ffi"):
    # "highest" is direct convolution: the same bits for whatever batch.
    return lambda arrays: call(op, arrays, implementation, precision="highest")


def mapped(function, arrays, axes):
    return jax.jit(jax.vmap(function, ({name: axes.get(name) for name in arrays},)))


def one_by_one(function, arrays, axes):
    """What ``vmap`` means."""
    examples = [
        arrays | {name: np.take(arrays[name], i, axis) for name, axis in axes.items()}
        for i in range(SIZE)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(function, examples))


@pytest.mark.parametrize(("op", "name"), CASES)
def test_values(op, name):
    axes = MAPPED[name]
    arrays = stacked(problem(op), axes)
    ours = mapped(apply(op), arrays, axes)(arrays)
    agreement.assert_near(ours, one_by_one(functools.partial(exact, op), arrays, axes))


@pytest.mark.parametrize("name", ["x", "kernel"])
def test_inference_has_the_bits_of_each_example(name):
    axes = {name: 0}
    arrays = stacked(problem(), axes)
    ours = mapped(apply("inference"), arrays, axes)(arrays)
    agreement.assert_identical(ours, one_by_one(apply("inference"), arrays, axes))


@pytest.mark.parametrize("op", OPS)
def test_nested(op):
    """Over kernels and, inside, over images: every kernel with every image."""
    kernels, images = {"kernel": 0}, {"x": 0, "residual": 0}
    arrays = stacked(stacked(problem(op), kernels), images)
    ours = mapped(mapped(apply(op), arrays, images), arrays, kernels)(arrays)
    inner = lambda arrays: one_by_one(functools.partial(exact, op), arrays, images)  # noqa: E731
    agreement.assert_near(ours, one_by_one(inner, arrays, kernels))


@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("inference", "images"),
        ("inference", "everything"),
        ("training", "images"),
        ("training", "kernel at the end"),
    ],
)
def test_of_grad(op, name):
    def gradient(implementation):
        function = apply(op, implementation)
        return jax.grad(lambda a: sum(jnp.sum(y**2) for y in jax.tree.leaves(function(a))))

    arrays = stacked(problem(op, x=(2, 4, 3, 4)), MAPPED[name])
    ours, reference = (mapped(gradient(i), arrays, MAPPED[name]) for i in ("ffi", "xla"))
    agreement.assert_near(ours(arrays), agreement.in_float64(reference, arrays))


@pytest.mark.parametrize("op", OPS)
def test_grad_of_vmap(op):
    """The other order: here the refusal of forward mode, on tangents, is batched too."""

    def gradient(implementation):
        function = mapped(apply(op, implementation), arrays, MAPPED["images"])
        return jax.jit(jax.grad(lambda a: sum(jnp.sum(y**2) for y in jax.tree.leaves(function(a)))))

    arrays = stacked(problem(op, x=(2, 4, 3, 4)), MAPPED["images"])
    reference = agreement.in_float64(gradient("xla"), arrays)
    agreement.assert_near(gradient("ffi")(arrays), reference)


def test_images_make_one_larger_batch():
    axes = MAPPED["images"]
    arrays = stacked(problem(), axes)
    (one,) = kernel_calls(mapped(apply("inference"), arrays, axes), arrays)
    images, channels = "tensor<6x6x5x4xf32>", "tensor<6xf32>"
    operands = (images, "tensor<3x3x4x6xf32>", channels, channels, "tensor<6x6x5x6xf32>")
    assert one == ("resfuse_conv_affine", ", ".join(operands))


def test_residuals_make_one_larger_batch_of_the_normalization():
    """Whose convolution, which the examples share, is repeated, and not computed again."""
    axes = {"residual": 0}
    arrays = stacked(problem("training"), axes)
    calls = dict(kernel_calls(mapped(apply("training"), arrays, axes), arrays))
    assert calls["resfuse_conv_statistics"].startswith("tensor<2x6x5x4xf32>")
    large, channels = "tensor<6x6x5x6xf32>", "tensor<6xf32>"
    assert calls["resfuse_normalize"] == ", ".join([large, *[channels] * 3, large])


@pytest.mark.parametrize("op", OPS)
def test_kernels_make_calls_in_turn(op):
    """One of each in a loop, and the convolution's on images that are not copied."""
    axes = {"kernel": 0}
    arrays = stacked(problem(op), axes)
    calls = kernel_calls(mapped(apply(op), arrays, axes), arrays)
    assert len(calls) == {"inference": 1, "training": 2}[op]
    assert calls[0][1].startswith("tensor<2x6x5x4xf32>, tensor<3x3x4x6xf32>")
    assert all("tensor<3x2x" not in operands for _, operands in calls)
