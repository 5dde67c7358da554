import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from cli_driver import assert_refused
from resfuse.cli.app import app
from resfuse.cli.peers import train_flax, weights
from resfuse.cli.peers.arithmetic import gflop
from resfuse.cli.peers.engines import OURS
from resfuse.cli.peers.models import TRAINED, BookResNet, Case, Model, ResNet
from resfuse.cli.peers.options import choose_cases, choose_engines
from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.recipe import LEARNING_RATE, MOMENTUM, STEPS, TOLERANCE
from resfuse.cli.peers.tasks import TRAINING
from resfuse.models.architectures import Architecture

RESNET = ResNet(
    architecture=Architecture("basic", (1,), features=8),
    size=8,
    num_classes=10,
    cifar_stem=True,
    batches=(4,),
)
BOOK = BookResNet(stages=((1, 64), (1, 8)), size=16, channels=1, num_classes=10, batches=(4,))
OPTIONS = ("--models", "tiny", "--engines", "flax", "--threads", 1, "--rounds", 2)


def _prepare(folder: Path, model: Model) -> Prepared:
    prepared = Prepared(folder)
    prepared.model = model
    weights.write(str(folder))
    return prepared


def _losses(prepared: Prepared, variant: str) -> list[float]:
    step = train_flax.load(variant, prepared, 4, 1)
    return [float(step()) for _ in range(STEPS)]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return _prepare(tmp_path_factory.mktemp("book"), BOOK)


@pytest.fixture(scope="module")
def right(book: Prepared) -> list[float]:
    """The losses of the book's network in plain Flax."""
    return _losses(book, "xla")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run with a tiny network writes."""
    out = tmp_path_factory.mktemp("train")
    files = ("--json", out / "train.json", "--plot", out / "train.png")
    command = ("bench", "--train", "--peers", *OPTIONS, *files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRAINED, "tiny", RESNET)
        result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 0, result.output
    (out / "tables.txt").write_text(result.stdout)
    return out


@pytest.fixture(scope="module")
def document(written: Path) -> dict[str, Any]:
    return dict(json.loads((written / "train.json").read_text()))


def test_a_run_measures_both_engines_at_the_batch_of_the_model(document: dict[str, Any]) -> None:
    assert document["task"] == "training step"
    (case,) = document["results"]
    assert (case["model"], case["batch"], case["threads"]) == ("tiny", 4, 1)
    assert [len(case["seconds"][name]) for name in (OURS, "flax")] == [2, 2]
    assert case["gflop"] == gflop(RESNET, 4, trains=True)
    assert min(case["peak_megabytes"].values()) > 1
    assert 0 <= case["difference"]["flax"] < TOLERANCE


def test_tables_and_plot_speak_of_steps(written: Path, document: dict[str, Any]) -> None:
    tables = (written / "tables.txt").read_text()
    (case,) = document["results"]
    assert "Milliseconds a training step" in tables
    assert f"losses of the first {STEPS} steps" in re.sub(r"\s+", " ", tables)
    ratio = case["ratio_to_library"]["Flax"]
    assert f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" in tables
    assert (written / "train.png").read_bytes().startswith(b"\x89PNG")


def test_losses_of_the_book_agree_too(book: Prepared, right: list[float]) -> None:
    np.testing.assert_allclose(_losses(book, "fuse"), right, atol=TOLERANCE * max(right))


@pytest.mark.parametrize(
    ("name", "value"), [("MOMENTUM", 0.0), ("LEARNING_RATE", 1.05 * LEARNING_RATE)]
)
def test_a_wrong_step_shows_in_the_losses(
    book: Prepared, right: list[float], monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(train_flax, name, value)
    wrong = _losses(book, "xla")
    assert np.abs(np.subtract(wrong, right)).max() > TOLERANCE * max(right)


def test_steps_are_sgd_with_momentum() -> None:
    """By hand, on a function of one weight: the loss is ``log(1 + exp(-w))``."""

    def apply(variables: Any, x: jax.Array) -> Any:
        return x * variables["params"], {"batch_stats": variables["batch_stats"] + 1}

    optimizer = train_flax.optax.sgd(LEARNING_RATE, MOMENTUM)
    step = train_flax._step(apply, optimizer)
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


@pytest.mark.parametrize(
    ("model", "multiply_adds"),
    [
        # 22 * 22 places of a 3x3 window lie on an 8x8 image.
        (RESNET, [22**2 * 3 * 8, 22**2 * 8 * 8, 22**2 * 8 * 8, 8 * 10]),
        (
            BOOK,
            [
                # 7x7, stride 2, padding 2 and 3: 5 + 4 * 7 + 6 + 5 + 4, hence 48
                (5 + 7 + 7 + 7 + 7 + 7 + 6 + 4) ** 2 * 64,
                *[10**2 * 64 * 64] * 2,  # 3x3 on 4x4
                *[5**2 * 64 * 8, 4**2 * 8 * 8, 2**2 * 64 * 8],  # stride 2, 3x3 on 2x2, 1x1
                8 * 10,
            ],
        ),
    ],
)
def test_arithmetic_is_that_of_the_weights_on_the_image(
    model: Model, multiply_adds: list[int]
) -> None:
    total = sum(multiply_adds)
    assert gflop(model, 2, trains=False) == pytest.approx(2 * 2 * total / 1e9)
    # No derivative by the images is needed.
    training = 2 * 2 * (3 * total - multiply_adds[0]) / 1e9
    assert gflop(model, 2, trains=True) == pytest.approx(training)


def test_by_default_each_model_has_its_batch_and_all_cpus() -> None:
    cases = choose_cases(TRAINING, None, None, None, cpus=2)
    assert cases == [
        Case("ResNet18_CIFAR", 128, 2),
        Case("ResNet18_64x64", 32, 2),
        Case("ResNet50_64x64", 16, 2),
        Case("d2l_ResNet18", 128, 2),
    ]
    assert choose_cases(TRAINING, "d2l_ResNet18", "8", 1, cpus=2) == [Case("d2l_ResNet18", 8, 1)]


def test_engines_that_cannot_train_are_not_offered() -> None:
    assert choose_engines(TRAINING, "flax-ynn-off,flax") == [OURS, "flax", "flax-ynn-off"]
    why = "there are resfuse, flax, flax-ynn-off, pytorch, inductor"
    assert_refused("bench", "--train", "--peers", "--engines", "openvino", why=why)
    assert_refused("bench", "--train", "--peers", "--models", "ResNet34", why="ResNet18_64x64")


def test_torch_trains_alike(book: Prepared, right: list[float]) -> None:
    pytest.importorskip("torch", reason="a peer that only the extra `bench` installs")
    from resfuse.cli.peers import train_torch

    step = train_torch.load("eager", book, 4, 1)
    losses = [step() for _ in range(STEPS)]
    np.testing.assert_allclose(losses, right, atol=TOLERANCE * max(right))
