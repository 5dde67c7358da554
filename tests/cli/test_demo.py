import signal
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

import training_runs  # noqa: F401 - runs with equal options share their compiled programs
from resfuse import ffi
from resfuse.cli import compare
from resfuse.cli.app import app
from resfuse.cli.data import Batch, in_order, load
from resfuse.cli.demo import save
from resfuse.cli.training.trainer import Outcome, Trainer
from resfuse.nnx import ResNetClassifier

SEED = 1
SHORT = ("--seed", SEED, "--epochs", 8)  # of 12, in which it learns as much


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "made" / "for it"


@pytest.fixture(scope="module")
def demo(out: Path) -> Result:
    """The demo, once for the tests that look at what it says and writes."""
    return run(*SHORT, "--out", out)


def run(*arguments: object, expected: int = 0) -> Result:
    """The demo without the time that a process takes to start, and with one round of timings."""
    with (
        jax.numpy_dtype_promotion("standard"),  # optax mixes types
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(compare, "ROUNDS", 1)
        result = CliRunner().invoke(
            app, ["demo", *map(str, arguments)], env={"COLUMNS": "200"}, catch_exceptions=False
        )
    assert result.exit_code == expected, result.output
    return result


def rows(output: str) -> dict[str, list[str]]:
    """The rows of the printed table, by their first cell."""
    cells = ([cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines())
    return {row[0]: [cell for cell in row[1:] if cell] for row in cells if row}


def held_out() -> Batch:
    source = load("digits", size=None, seed=SEED).test
    with in_order(source, len(source)) as stream:
        return next(stream)


def logits(model: ResNetClassifier) -> NDArray[np.float32]:
    model.eval()
    return np.asarray(nnx.jit(model)(held_out()[0]))


def restored(checkpoint: Path) -> ResNetClassifier:
    """A model of other weights with those of the checkpoint."""
    model = ResNetClassifier(1, 32, 10, rngs=nnx.Rngs(99))
    with ocp.StandardCheckpointer() as checkpointer:
        nnx.update(model, checkpointer.restore(checkpoint, nnx.state(model)))
    return model


def test_accuracy_is_at_least_97_percent_and_the_kernel_agrees_with_flax(
    demo: Result,
) -> None:
    table = rows(demo.stdout)
    kernel, flax = (float(each.rstrip("%")) for each in table["Accuracy"])
    assert kernel >= 97
    assert kernel == flax
    assert table["Predictions that differ"] == ["0"]
    assert float(table["Largest logit difference"][0]) < 1e-3
    assert f"resfuse kernel ({ffi.isa()})" in demo.stdout
    assert "not live" not in demo.stdout


def test_speeds_and_ratio_belong_together(demo: Result) -> None:
    table = rows(demo.stdout)
    kernel, flax = (float(each.replace(",", "")) for each in table["Images per second"])
    assert kernel > 0
    assert flax > 0
    assert float(table["Times as fast as plain Flax"][0]) == pytest.approx(kernel / flax, rel=0.5)


def test_results_are_a_checkpoint_and_a_picture_and_nothing_else(demo: Result, out: Path) -> None:
    assert sorted(each.name for each in out.iterdir()) == ["checkpoint", "report.png"]
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "report.png" in demo.stdout


def test_checkpoint_holds_the_model_that_was_measured(demo: Result, out: Path) -> None:
    right = logits(restored(out / "checkpoint")).argmax(-1) == held_out()[1]
    assert rows(demo.stdout)["Accuracy"][0] == f"{right.mean():.2%}"


def test_checkpoint_restores_to_the_same_variables(tmp_path: Path) -> None:
    model = ResNetClassifier(1, 32, 10, rngs=nnx.Rngs(SEED))
    save(model, tmp_path / "checkpoint")
    states = (nnx.state(each) for each in (restored(tmp_path / "checkpoint"), model))
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.long
def test_same_seed_prints_the_same_table_times_aside(demo: Result, tmp_path: Path) -> None:
    again = run(*SHORT, "--out", tmp_path)
    tables = [rows(each.stdout) for each in (demo, again)]
    for table in tables:
        del table["Images per second"], table["Times as fast as plain Flax"]
    assert len(tables[0]) == 3
    assert tables[0] == tables[1]


@pytest.mark.long
def test_plain_flax_is_called_plain_flax(tmp_path: Path) -> None:
    result = run("--epochs", 1, "--implementation", "xla", "--out", tmp_path)
    assert "kernel is not live" in result.stdout
    assert "Flax against Flax" in " ".join(result.stdout.split())
    assert rows(result.stdout)["Largest logit difference"] == ["0.0e+00"]


def test_ctrl_c_leaves_an_earlier_result_and_nothing_else(
    demo: Result, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contents() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in out.rglob("*")}

    def interrupted(self: Trainer, batch: Batch) -> Outcome:
        signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    assert demo.exit_code == 0
    before, step = contents(), Trainer.step
    monkeypatch.setattr(Trainer, "step", interrupted)
    assert run("--seed", SEED, "--out", out, expected=130).stdout == ""
    assert contents() == before
