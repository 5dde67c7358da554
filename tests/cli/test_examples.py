"""The programs in ``examples`` do what they say."""

import re
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from resfuse.nnx import load

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_finetuning_learns_in_what_is_not_frozen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLES / "finetune.py"))
    file = str(tmp_path / "weights.safetensors")
    example["write_weights"](file)
    before = nnx.to_pure_dict(nnx.state(load(file, num_classes=10, in_channels=1)))
    with jax.numpy_dtype_promotion("standard"):  # optax mixes types
        after = nnx.to_pure_dict(nnx.state(example["main"](file, epochs=1)))
    for part, variables in before.items():
        same = [
            np.array_equal(*pair)
            for pair in zip(*map(jax.tree.leaves, (variables, after[part])), strict=True)
        ]
        assert all(same) if part in example["FROZEN"] else not any(same), part
    first, last = map(float, re.findall(r": +([\d.]+)% right", capsys.readouterr().out))
    assert last > first
