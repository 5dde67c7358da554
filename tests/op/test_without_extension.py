"""Where the extension does not load, everything works on the reference and says why."""

import os
import subprocess
import sys

import pytest

from resfuse import ffi

BLOCK = "import sys; sys.modules['resfuse._ext'] = None\n"  # the import system's own way to refuse
ALL = "from resfuse import cli, d2l, linen, nnx\n"
CALL = """
import jax.numpy as jnp
import resfuse
from resfuse import ffi
from resfuse.spec import ConvSpec
x, kernel, ones = jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 2, 4)), jnp.ones(4)
arguments = x, kernel, ones, ones, ones, ones
"""


def run(code, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RESFUSE_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_op_runs_on_the_reference():
    script = """
y = resfuse.conv_bn_relu(*arguments)
reference = resfuse.conv_bn_relu(*arguments, implementation="xla")
assert (y == reference).all()
assert resfuse.conv_bn_relu_train(*arguments[:4])[1].shape == (4,)
assert not ffi.available() and ffi.isas() == () and ffi.isa() is None
assert ffi.unavailable_reason().startswith("the extension does not load: "), "no reason"
try:
    resfuse.conv_bn_relu(*arguments, implementation="ffi")
except ValueError as error:
    print(error)
"""
    process = run(BLOCK + ALL + CALL + script)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(
        'implementation="ffi" cannot be had: the extension does not load: '
    )


def test_the_environment():
    """Its variables are read when the package is imported."""
    name = ffi.isas()[-1]
    process = run(
        CALL + "resfuse.conv_bn_relu(*arguments); print(ffi.isa()); "
        "spec = ConvSpec((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1, None); "
        "print(ffi.algorithm((1, 2, 2, 16), (3, 3, 16, 8), spec))",
        RESFUSE_ISA=name, RESFUSE_ALGORITHM="winograd",
    )  # fmt: skip
    assert (process.returncode, process.stdout) == (0, f"{name}\nwinograd\n"), process.stderr


def test_an_unknown_instruction_set_in_the_environment():
    with pytest.raises(ValueError, match=r"RESFUSE_ISA must be one of .* got 'abacus'"):
        ffi._obey({"RESFUSE_ISA": "abacus"})


def test_an_unknown_instruction_set_by_name():
    with pytest.raises(ValueError, match=r"RESFUSE_ISA must be one of .* got 'abacus'"):
        ffi.force_isa("abacus")
