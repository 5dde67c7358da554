"""Convolutions of which each reads what the one before wrote, in one call."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax import Array, lax

from resfuse.kernel.affine import affine, conv_affine
from resfuse.kernel.call import Attribute, Call
from resfuse.kernel.conv import attributes, axes
from resfuse.kernel.derivatives import refuse_forward_mode
from resfuse.kernel.epilogue import Epilogue
from resfuse.spec import ConvSpec


@dataclasses.dataclass(frozen=True)
class Part:
    spec: ConvSpec
    epilogue: Epilogue
    window: tuple


def native(parts, in_place, x, *per_part):
    letters = iter("abcdefgijklmopqrstuvwz")
    rule, attrs, operands, shape = ["n h w i"], {}, [x], x.shape
    letters = iter("abcdefgjklmopqrstuvz")
    for k, (part, (packed, kernel_shape, scale, shift, *ops)) in enumerate(zip(parts, per_part)):
        out = next(letters)
        rule.append(" ".join(next(letters) for _ in range(4)))
        kinds = {"channel": out, "image": f"n {out}", "tensor": f"n y x {out}"}
        rule += [out, out, *(kinds[kind] for kind in part.epilogue.program.operands)]
        operands += [packed, scale, shift, *ops]
        each = attributes(part.spec) | part.epilogue.program.attributes | {"packed": kernel_shape, "operands": len(ops)}
        attrs |= {f"{n}_{k}": v for n, v in each.items()}
        shape = part.spec.output_shape(shape, kernel_shape)
    y = f"n y x {out}"
    call = Call("conv_cascade", f"{', '.join(rule)} -> {y}", sizes={"y": shape[1], "x": shape[2]},
                attributes=attrs | {"parts": len(parts)}, in_place=in_place)
    return call(*operands)
