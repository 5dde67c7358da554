from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from engines import flax
from models import Model
from options import choose_engines, choose_networks
from prepared import LEARNING_RATE, MOMENTUM, prepare
from resfuse.cli.bench.results import OURS
from training import COMPARISON, STEPS, TOLERANCE

BOOK = Model("d2l.ResNet", 16, channels=1, num_classes=10, settings={"arch": [[1, 64], [1, 8]]})


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("book"), BOOK).folder


def _losses(folder: Path, variant: str) -> list[float]:
    step = flax.training(variant, str(folder), 4, 1)
    return [float(step()) for _ in range(STEPS)]


@pytest.fixture(scope="module")
def right(book: Path) -> list[float]:
    """The losses of the book's network in plain Flax."""
    return _losses(book, "xla")


def test_losses_of_the_kernel_agree(book: Path, right: list[float]) -> None:
    np.testing.assert_allclose(_losses(book, "fuse"), right, atol=TOLERANCE * max(right))


def test_a_wrong_step_shows_in_the_losses(
    book: Path, right: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flax, "LEARNING_RATE", 1.05 * LEARNING_RATE)
    assert np.abs(np.subtract(_losses(book, "xla"), right)).max() > TOLERANCE * max(right)


def test_steps_are_sgd_with_momentum() -> None:
    """By hand, on a function of one weight: the loss is ``log(1 + exp(-w))``."""

    def apply(variables: Any, x: jax.Array) -> Any:
        return x * variables["params"], {"batch_stats": variables["batch_stats"] + 1}

    optimizer = optax.sgd(LEARNING_RATE, MOMENTUM)
    step = flax.sgd_step(apply, optimizer)
    weight = jax.numpy.float32(0.5)
    state = {"params": weight, "batch_stats": jax.numpy.float32(0)}, optimizer.init(weight)
    x, labels = jax.numpy.array([[1.0, 0.0]]), jax.numpy.array([0])
    expected, momentum = 0.5, 0.0
    for number in range(1, 4):
        state, loss = step(state, x, labels)
        assert float(loss) == pytest.approx(np.log1p(np.exp(-expected)), rel=1e-5)
        momentum = MOMENTUM * momentum - 1 / (1 + np.exp(expected))
        expected -= LEARNING_RATE * momentum
        assert float(state[0]["params"]) == pytest.approx(expected, rel=1e-6)
        assert float(state[0]["batch_stats"]) == number


def test_by_default_each_model_has_its_batch() -> None:
    assert choose_networks(COMPARISON, None, None) == [
        ("ResNet18_CIFAR", 128),
        ("ResNet18_64x64", 32),
        ("ResNet50_64x64", 16),
        ("d2l_ResNet18", 128),
        ("MobileNetV2_96x96", 32),
        ("EfficientNetB0_96x96", 32),
    ]


def test_engines_that_cannot_train_are_not_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(choose_engines(COMPARISON, "flax-ynn-off,flax")) == [OURS, "flax", "flax-ynn-off"]
    with pytest.raises(Exception, match="2"):
        choose_engines(COMPARISON, "openvino")
    assert "there are resfuse, flax, flax-ynn-off, pytorch, inductor" in capsys.readouterr().err


def test_torch_trains_alike(book: Path, right: list[float]) -> None:
    pytest.importorskip("torch", reason="a peer that only the extra `bench` installs")
    from engines import torch

    step = torch.training("eager", str(book), 4, 1)
    losses = [step() for _ in range(STEPS)]
    np.testing.assert_allclose(losses, right, atol=TOLERANCE * max(right))
