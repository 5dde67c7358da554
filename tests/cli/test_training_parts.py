"""Networks by name, optimizers against their formulas, and the display on a terminal."""

import io
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from resfuse.cli import panels
from resfuse.cli.training import display
from resfuse.cli.training.display import Display
from resfuse.cli.training.metrics import Row
from resfuse.cli.training.networks import NAMES, network
from resfuse.cli.training.options import Options
from resfuse.cli.training.rates import learning_rate, optimizer

MILLIONS = {  # of parameters, with 1000 classes of images in colour, as torchvision counts
    "resnet18": 11.69,
    "wide_resnet50_2": 68.88,
    "resnext50_32x4d": 25.03,
}


def count(name: str, classes: int, shape: tuple[int, int, int]) -> int:
    variables = jax.eval_shape(lambda: network(name, classes, shape).init(0))
    return sum(leaf.size for leaf in jax.tree.leaves(variables.params))


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(each, marks=pytest.mark.long) for each in [*MILLIONS][1:])]
)
def test_networks_have_torchvisions_names_and_sizes(name: str) -> None:
    assert count(name, 1000, (224, 224, 3)) / 1e6 == pytest.approx(MILLIONS[name], abs=0.005)


def test_the_book_has_networks_of_its_own() -> None:
    assert count("d2l-resnet18", 10, (96, 96, 1)) == 11_178_378


def test_names_are_torchvisions_timms_and_the_books() -> None:
    names = " ".join(NAMES)
    assert "tiny resnet18 resnet34 resnet50 resnet101 resnet152 wide_resnet50_2" in names
    assert "resnext50_32x4d resnext101_32x8d resnext101_64x4d resnet18d resnet34d" in names
    assert "mobilenet_v3_small efficientnet_b0" in names
    assert "regnet_x_400mf regnet_x_800mf regnet_x_1_6gf" in names
    assert "regnetx_002 regnetx_006 regnetx_040 regnetx_064 regnetx_120" in names
    assert "regnety_120 regnetx_004 regnety_008 regnety_080" in names
    assert "vgg19_bn d2l-resnet18" in names


def test_small_images_get_the_stem_for_them() -> None:
    shapes = [(64, 64, 3), (65, 64, 3)]
    small, large = (count("resnet18", 10, shape) for shape in shapes)
    assert large - small == 64 * 3 * (7 * 7 - 3 * 3)


def test_variables_stay_as_they_are_where_a_network_is_applied() -> None:
    net = network("tiny", 3, (8, 8, 1))
    variables = net.init(0)
    before = jax.tree.map(np.asarray, variables)
    _, changed = net.apply(variables, jnp.ones((2, 8, 8, 1)), True)
    jax.tree.map(np.testing.assert_array_equal, before, variables)
    assert any(
        (a != b).any()
        for a, b in zip(*map(jax.tree.leaves, (changed, variables.statistics)), strict=True)
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", {0: 1, 50: 1, 99: 1}),
        ("step", {0: 1, 49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
        ("cosine", {0: 1, 50: 0.5, 100: 0}),
    ],
)
def test_learning_rates(schedule: str, expected: dict[int, float]) -> None:
    rate = learning_rate(Options.of({"lr": 1.0, "schedule": schedule}), 100)
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "updates"),
    [  # two steps from weight 1, each with gradient 2
        ({"optimizer": "sgd", "momentum": 0.0}, [-0.2, -0.2]),
        ({"optimizer": "sgd"}, [-0.2, -0.1 * (2 + 0.9 * 2)]),
        (
            {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.5},
            [-0.25, -0.1 * (2 + 0.5 * 0.75)],
        ),
        ({"optimizer": "adam"}, [-0.1, -0.1]),
        ({"optimizer": "adamw", "weight_decay": 0.5}, [-0.1 - 0.05, -0.1 - 0.1 * 0.5 * 0.85]),
    ],
)
def test_updates(given: dict[str, object], updates: list[float]) -> None:
    options = Options.of({"lr": 0.1, "schedule": "constant", **given})
    rule = optimizer(options, learning_rate(options, 2))
    weight, gradient = jnp.ones(()), jnp.full((), 2.0)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes types
        state = rule.init(weight)
        for expected in updates:
            update, state = rule.update(gradient, state, weight)
            assert float(update) == pytest.approx(expected, rel=1e-4)
            weight += update


def test_a_terminal_gets_a_bar_and_a_line_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    options = {"highlight": False, "soft_wrap": True, "width": 120, "height": 20}
    console = Console(file=screen, force_terminal=True, **options)
    monkeypatch.setattr(display, "Console", lambda **_: console)
    shown = Display(epochs=2, steps=10, done=0)
    row = Row(5, 1, "step", 1.5, 0.25, None, None, 0.1, 1234.0)
    shown.advance(row)
    shown.tell(row, 0.1)
    shown.tell(Row(5, 1, "epoch", 1.25, 0.5, 2.5, 0.125, 0.1, 1234.0), 0.1)
    shown.close()
    text = screen.getvalue()
    assert "step 5/10  loss 1.5000" not in text
    assert "epoch 1/2" in text
    assert "5/10" in text
    assert "1,234 images/s" in text
    assert "step 5/10  loss 1.2500  accuracy 50.0%  test loss 2.5000  test accuracy 12.5%" in text


def test_names_of_any_kind_are_drawn(tmp_path: Path) -> None:
    """A warning, as of a glyph that no font has, would be an error here."""
    broken = os.fsdecode(b"caf\xe9")
    names = ("$5$", "$\\frac$", "a_{b", "猫", "кошки", "a\tb", broken, "x" * 200, "[/]", "100%")
    labels = np.arange(len(names))
    images = np.zeros((len(names), 2, 2, 3), np.float32)
    with panels.report(tmp_path / "report.png", "$x on $y", names) as (curve, matrix, some, _):
        panels.curves(curve.subplots(), "Loss", "loss", {"a": [1.0]})
        panels.confusion(matrix.subplots(), np.eye(len(names), dtype=int), names)
        panels.examples(some, images, labels, labels[::-1], names)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_data_are_found_from_any_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "digits").mkdir()  # the name means scikit-learn's
    monkeypatch.chdir(tmp_path)
    there = {name: Options.of({"data": name}) for name in ("pictures", "digits", "a/name")}
    assert [each.data for each in there.values()] == [f"{tmp_path}/pictures", "digits", "a/name"]
    monkeypatch.chdir("/")
    assert not there["pictures"].differences({"data": str(tmp_path / "pictures")})
    assert there["pictures"].differences({"data": "pictures"})
