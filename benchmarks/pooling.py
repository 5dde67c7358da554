"""Pooling, layer norm and group norm on one thread: through ``fuse``, and by XLA, in turn."""

import functools
import os
import statistics
from collections.abc import Callable
from typing import Annotated

import jax
import typer
from flax import linen as nn

import resfuse
from resfuse.cli.bench.worker import seconds_per_call

Function = Callable[[jax.Array], jax.Array]


def _mean(x: jax.Array) -> jax.Array:
    return x.mean((1, 2))


def _layer_norm(x: jax.Array) -> jax.Array:
    return jax.nn.standardize(x, epsilon=1e-6)


def _group_norm(x: jax.Array) -> jax.Array:
    y = x.reshape(*x.shape[:-1], 32, x.shape[-1] // 32)
    return jax.nn.silu(jax.nn.standardize(y, (1, 2, 4), epsilon=1e-6).reshape(x.shape))


# By the size and channels of the images.
FUNCTIONS: dict[str, tuple[Function, int, int]] = {
    "max 3x3/2": (functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2)), 112, 64),
    "max 3x3/1": (functools.partial(nn.max_pool, window_shape=(3, 3)), 28, 192),
    "average 3x3/1": (functools.partial(nn.avg_pool, window_shape=(3, 3)), 28, 192),
    "max 2x2/2": (functools.partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2)), 112, 64),
    "average 2x2/2": (functools.partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2)), 56, 128),
    "mean, 112x112": (_mean, 112, 32),
    "mean, 56x56": (_mean, 56, 96),
    "mean, 32x32": (_mean, 32, 256),
    "mean, 7x7": (_mean, 7, 960),
    "layer norm, 56x56": (_layer_norm, 56, 96),
    "layer norm, 28x28": (_layer_norm, 28, 192),
    "layer norm, 14x14": (_layer_norm, 14, 384),
    "layer norm, 7x7": (_layer_norm, 7, 768),
    "group norm, SiLU, 64x64": (_group_norm, 64, 64),
    "group norm, SiLU, 32x32": (_group_norm, 32, 128),
    "group norm, SiLU, 16x16": (_group_norm, 16, 256),
    "group norm, SiLU, 8x8": (_group_norm, 8, 512),
}


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each.")] = 15,
    batch: Annotated[int, typer.Option(min=1, help="Images.")] = 1,
) -> None:
    """Prints the microseconds of a call, and the ratio of the medians."""
    print(f"{f'images: {batch}':36} resfuse, us    XLA, us  ratio")
    for name, (plain, size, channels) in FUNCTIONS.items():
        x = jax.random.normal(jax.random.key(0), (batch, size, size, channels))
        calls = [jax.jit(function) for function in (resfuse.fuse(plain), plain)]
        times: list[list[float]] = [[], []]
        for _ in range(rounds):
            for call, seconds in zip(calls, times, strict=True):
                run = functools.partial(_run, call, x)
                run()  # warms up
                seconds.append(1e6 * seconds_per_call(run, 0.02))
        ours, theirs = map(statistics.median, times)
        label = f"{name}, {size}x{size}x{channels}"
        print(f"{label:36} {ours:11.1f} {theirs:10.1f} {theirs / ours:6.2f}", flush=True)


def _run(call: Function, x: jax.Array) -> None:
    call(x).block_until_ready()


if __name__ == "__main__":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # before XLA makes its threads
    typer.run(main)
