"""Networks of resfuse's in NNX: ``fuse``; ``left``, with activations left to XLA; or ``xla``."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax import Array, lax

import resfuse
import resfuse.nnx
from resfuse.models.convention import ACTIVATIONS
from resfuse.nnx import layers


def start() -> None:
    """Wakes the runtime."""
    jax.numpy.zeros(1).block_until_ready()


def inference(variant: str, name: str, batch: int) -> Callable[[], Any]:
    """The network as a call on images; its weights are random."""
    if variant == "left":
        layers.conv_norm = _left_to_xla
    model = getattr(resfuse.nnx, name)(rngs=nnx.Rngs(0))
    model.eval()
    x = jax.random.normal(jax.random.key(0), (batch, 224, 224, 3))
    if variant == "xla":
        layers.conv_norm = _plain
    compile_ = jax.jit if variant == "xla" else resfuse.fuse
    compiled = compile_(lambda x: model(x))
    return lambda: compiled(x).block_until_ready()


def _left_to_xla(conv: Any, norm: Any, x: Array, activation: Any = None) -> Array:
    y = resfuse.nnx.conv_bn_act(conv, norm, x, activation=None)
    # Nothing is fused across the barrier.
    return y if activation is None else ACTIVATIONS[activation](lax.optimization_barrier(y))


def _plain(conv: Any, norm: Any, x: Array, activation: Any = None) -> Array:
    y: Array = norm(conv(x))
    return y if activation is None else ACTIVATIONS[activation](y)
