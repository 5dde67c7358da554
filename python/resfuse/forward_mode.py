"""Forward-mode differentiation, refused by name.

A ``custom_vjp`` function refuses forward mode too, but under ``jit`` from deep inside JAX and
without a word about which function it was. Here an identity on the inputs, whose tangent is an
operation that can be transposed but not run, says it first, in whatever order JAX transforms.
"""

from typing import Any, NoReturn

import jax
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = ["refuse_forward_mode"]


@jax.custom_jvp
def refuse_forward_mode(x: Array) -> Array:
    """Returns ``x``; differentiates in reverse mode only."""
    return x


@refuse_forward_mode.defjvp
def _tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return primals[0], _reverse_only_p.bind(tangents[0])


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError(
        "resfuse's kernel cannot be differentiated in forward mode (jvp, jacfwd, linearize); "
        'pass implementation="xla" to differentiate the reference'
    )


_reverse_only_p = Primitive("resfuse_reverse_only")
_reverse_only_p.def_impl(_refuse)
_reverse_only_p.def_abstract_eval(lambda tangent: tangent)
ad.deflinear2(_reverse_only_p, lambda cotangent, _: [cotangent])
batching.defvectorized(_reverse_only_p)
mlir.register_lowering(_reverse_only_p, _refuse)
