"""Python's collector of garbage: put off while a function is traced, and then as it was."""

import contextlib
import gc

import jax.numpy as jnp
import pytest

import resfuse


@pytest.fixture(params=[True, False], ids=["enabled", "disabled"])
def enabled(request):
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("fails", [False, True], ids=["traced", "failed"])
def test_is_afterwards_as_it_was(enabled, fails):
    seen = []

    def fn(x):
        seen.append(gc.isenabled())
        if fails:
            raise ZeroDivisionError
        return x + 1

    with pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext():
        resfuse.fuse(fn)(jnp.ones(3))
    assert seen == [False]
    assert gc.isenabled() == enabled
