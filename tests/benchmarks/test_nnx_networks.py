"""Networks of ``resfuse.nnx`` as functions of their variables."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

import agreement
import network_case
from nnx_networks import Functional
from resfuse.models.mobilenet import MOBILENETS
from resfuse.nnx import MobileNet

_WHOLE = MOBILENETS["MobileNetV2"]
TINY = dataclasses.replace(_WHOLE, stages=_WHOLE.stages[:1], head_features=32)
X = agreement.images(2, 8, 8, 3)


def _functional(implementation: str | None, *, training: bool) -> Functional:
    make = functools.partial(MobileNet, TINY, num_classes=10)
    return Functional(make, implementation, training=training, momentum=0.9)


def _values(model: nnx.Module, kind: type[nnx.Variable]) -> dict[str, Any]:
    """By names such as ``stem/conv/kernel``."""
    flat = nnx.to_flat_state(nnx.state(model, kind))
    return {"/".join(map(str, path)): variable.get_value() for path, variable in flat}


@pytest.fixture(scope="module")
def model() -> MobileNet:
    """The network itself."""
    return network_case.filled(MobileNet, network_case.steady(TINY), num_classes=10)


@pytest.fixture(scope="module")
def variables(model: MobileNet) -> Any:
    """Those of the network, as Linen names them."""
    kinds = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
    return {name: unflatten_dict(_values(model, kind), sep="/") for name, kind in kinds.items()}


def test_variables_are_those_of_the_network(variables: Any) -> None:
    shapes = jax.eval_shape(_functional(None, training=True).init, agreement.key(0), X)
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, variables)


@pytest.mark.parametrize("implementation", [None, "xla"])
def test_logits_are_those_of_the_network(
    model: MobileNet, variables: Any, implementation: str | None
) -> None:
    apply = jax.jit(_functional(implementation, training=False).apply).lower(variables, X)
    assert ("resfuse" in apply.as_text()) == (implementation is None)
    agreement.assert_near(apply.compile()(variables, X), np.asarray(nnx.jit(model)(X)))


def test_statistics_in_training_are_those_of_the_network(variables: Any) -> None:
    apply = functools.partial(_functional("xla", training=True).apply, mutable=["batch_stats"])
    _, updated = jax.jit(apply)(variables, X)
    model = network_case.filled(MobileNet, network_case.steady(TINY), num_classes=10)
    model.train()
    nnx.jit(lambda model, x: model(x))(model, X)
    found = flatten_dict(updated["batch_stats"], sep="/")
    right = _values(model, nnx.BatchStat)
    assert found.keys() == right.keys()
    for name, value in found.items():
        agreement.assert_near(value, np.asarray(right[name]))
