"""The harness of the benchmarks, and ``resfuse bench`` on its smallest case."""

import contextlib
import json
import os
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bench_worker import InProcess
from cli_driver import assert_refused
from resfuse import ffi
from resfuse.cli.app import app
from resfuse.cli.bench import layers, turns
from resfuse.cli.bench.results import OURS, YNN_OFF, Case, Engine, Result, Task, Timings, difference
from resfuse.cli.bench.turns import Worker
from resfuse.cli.bench.worker import Requests

TASK = Task("inference", "call", "logits", calls=1, tolerance=1e-3, at_least=0.01)
LIBRARIES = {"flax": "Flax", "flax-ynn-off": "Flax", "openvino": "OpenVINO"}


def _result(difference: float = 1e-6, **seconds: list[float]) -> Result:
    """Resfuse takes 1 s in each of three rounds, the others what is given."""
    seconds = {OURS: [1.0] * 3, **seconds}
    engines = {name: Engine(name, LIBRARIES.get(name, OURS), "", "") for name in seconds}
    timings = {
        name: Timings(each, [100.0, 50.0, 20.0], 1.0, difference * (name != OURS))
        for name, each in seconds.items()
    }
    return Result(TASK, Case("ResNet18", "batch 8", threads=2, gflop=20.0), engines, timings)


def test_the_ratio_is_to_the_fastest_peer_of_each_round() -> None:
    result = _result(
        flax=[2.0, 0.5, 4.0], openvino=[3.0, 3.0, 3.0], **{"resfuse-arguments": [0.1] * 3}
    )
    assert result.ratios() == [2.0, 0.5, 3.0]
    assert result.best_peer == "flax"


def test_libraries_are_ranked_by_the_fastest_of_their_engines() -> None:
    seconds = {"flax": [2.0, 4.0, 4.0], "flax-ynn-off": [3.0, 3.0, 3.0], "openvino": [1.0] * 3}
    result = _result(**seconds)
    assert result.libraries == {"Flax": ["flax", "flax-ynn-off"], "OpenVINO": ["openvino"]}
    assert result.ratios(result.libraries["Flax"]) == [2.0, 3.0, 3.0]


def test_the_share_of_the_peak_is_that_of_each_round_and_of_all_threads() -> None:
    assert _result(flax=[2.0] * 3).share_of_peak(OURS) == 0.2
    assert _result(flax=[1.0, 4.0, 5.0]).share_of_peak("flax") == 0.1


def test_answers_are_compared_to_the_largest_of_ours() -> None:
    ours = np.array([[4.0, -8.0]])
    assert difference(ours + 2, ours) == 0.25
    assert difference(ours[:0], ours) == np.inf
    assert _result(1e-6, flax=[1.0] * 3).disagreeing == []
    assert _result(0.25, flax=[1.0] * 3).disagreeing == ["flax"]
    nan = difference(ours * np.nan, ours)
    assert _result(nan, flax=[1.0] * 3).disagreeing == ["flax"]


def test_an_engine_that_disagrees_fails_loudly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = _result(0.5, flax=[2.0, 2.0, 2.0])
    monkeypatch.setattr(layers.Measurement, "start", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(layers.Measurement, "measure", lambda *_: wrong)
    options = ("bench", "--filter", "op, 1x4x4x3", "--json", tmp_path / "x.json")
    result = CliRunner().invoke(app, list(map(str, options)))
    assert result.exit_code == 1
    assert f"flax and resfuse disagree on {wrong.case.name}" in result.stderr.splitlines()[-1]
    (written,) = json.loads((tmp_path / "x.json").read_text())["results"]
    assert written["engines"]["flax"]["difference"] == 0.5


def _slow_call() -> Any:
    answers = iter(range(100))

    def call() -> int:
        time.sleep(0.002)
        return next(answers)

    return call


def test_a_worker_keeps_the_first_answers_and_times_the_next(tmp_path: Path) -> None:
    requests, file = Requests(), tmp_path / "answers.npy"
    assert requests.build(f"{__name__}:_slow_call", [], str(file), 3) >= 0.002
    assert np.load(file).tolist() == [0, 1, 2]
    timing = requests.time(0.01)
    assert timing["seconds"] >= 0.002
    assert timing["peak"] > 0
    assert requests.memory() >= 0


def test_a_worker_has_its_flags_and_cpus_and_nothing_of_the_command_line(tmp_path: Path) -> None:
    benchmarks = str(Path(__file__).parents[2] / "benchmarks")
    allowed = os.sched_getaffinity(0)
    worker = Worker("one", 1, folder=benchmarks, xla_flags=YNN_OFF, keeps_memory=True)
    try:
        assert len(os.sched_getaffinity(worker.process.pid)) == 1
        assert os.sched_getaffinity(0) == allowed
        assert worker.ask("run", "os:getenv", "XLA_FLAGS") == YNN_OFF
        assert worker.ask("run", "os:getenv", "NPROC") == "1"
        assert "mmap_max=0" in worker.ask("run", "os:getenv", "GLIBC_TUNABLES")
        # Another version of resfuse has not this one's modules, but for those that are public.
        worker.ask("run", "engines.flax:start")
        modules = "[name for name in __import__('sys').modules if name.startswith('resfuse.cli')]"
        assert worker.ask("run", "builtins:eval", modules) == []
        request = f"{layers.__name__}:layer", ["", "op", 1, 4, 3], str(tmp_path / "answers.npy"), 1
        assert worker.ask("build", *request) > 0
        assert np.load(tmp_path / "answers.npy").shape == (1, 1, 4, 4, 3)
        assert worker.ask("time", 0.01)["seconds"] > 0
        worker.process.kill()
        with pytest.raises(RuntimeError, match="the process of 'one' ended on time"):
            worker.ask("time", 0.1)
    finally:
        worker.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one short run writes, with one engine beside resfuse."""
    out = tmp_path_factory.mktemp("bench")
    options = ("--filter", "op, 1x4x4x3", "--rounds", 2, "--threads", 1)
    files = ("--json", out / "bench.json", "--plot", out / "bench.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "Worker", InProcess)
        patch.delitem(layers.ENGINES, "xla, YNN off")
        result = CliRunner().invoke(app, list(map(str, ("bench", *options, *files))))
    assert result.exit_code == 0, result.output
    (out / "tables.txt").write_text(result.stdout)
    return out


@pytest.fixture(scope="module")
def document(written: Path) -> dict[str, Any]:
    return dict(json.loads((written / "bench.json").read_text()))


def test_json_says_what_was_measured_with_what(document: dict[str, Any]) -> None:
    assert set(document["versions"]) == {"python", "resfuse", "jax", "jaxlib", "flax"}
    assert (document["isa"], document["isas"]) == (ffi.isa(), list(ffi.isas()))
    assert {name: each["xla_flags"] for name, each in document["engines"].items()} == {
        OURS: "",
        "xla": "",
    }


def test_figures_follow_from_the_raw_rounds(document: dict[str, Any]) -> None:
    (case,) = document["results"]
    assert (case["group"], case["label"], case["threads"]) == ("op", "1x4x4x3", 1)
    ours, theirs = case["engines"][OURS], case["engines"]["xla"]
    assert len(ours["seconds"]) == len(theirs["seconds"]) == 2
    assert min(ours["seconds"] + theirs["seconds"]) > 0
    pairs = zip(ours["seconds"], theirs["seconds"], strict=True)
    assert theirs["ratios"] == [b / a for a, b in pairs]
    rounds = zip(ours["seconds"], ours["peaks"], strict=True)
    shares = [case["gflop"] / seconds / peak for seconds, peak in rounds]
    assert ours["share_of_peak"] == pytest.approx(statistics.median(shares))
    assert theirs["difference"] < layers.TASK.tolerance


def test_tables_show_the_figures_of_the_json(written: Path, document: dict[str, Any]) -> None:
    (case,) = document["results"]
    tables = (written / "tables.txt").read_text()
    ours, theirs = case["engines"][OURS], case["engines"]["xla"]
    our_time, their_time = (
        f"{1e3 * statistics.median(each['seconds']):.3g}" for each in (ours, theirs)
    )
    least, most = sorted(theirs["ratios"])
    ratio = f"{(least + most) / 2:.2f} ({least:.2f}-{most:.2f})"
    (row,) = re.findall(r"^   xla +(.*)$", tables, re.MULTILINE)
    assert row.startswith(f"{their_time} ")
    assert ratio in row
    assert f"{theirs['share_of_peak']:.1%}" in row
    (row,) = re.findall(rf"^ {case['name']} +(\S.*)$", tables, re.MULTILINE)
    assert row.startswith(f"{our_time} ")
    assert f"xla {their_time} ms" in row
    assert row.count(ratio) == 2  # of the fastest peer, and of its library


def test_plot_is_a_picture_and_nothing_else_is_left(written: Path) -> None:
    assert (written / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert {each.name for each in written.iterdir()} == {"bench.json", "bench.png", "tables.txt"}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_gflop_counts_the_weights_that_fall_on_the_image(size: int) -> None:
    on_image = sum(
        0 <= row + i < size and 0 <= column + j < size
        for row in range(size)
        for column in range(size)
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    )
    op = 2 * 5 * on_image * 3 * 3 / 1e9
    assert layers.Layer("op", 5, size, 3).gflop == pytest.approx(op)
    assert layers.Layer("block", 5, size, 3).gflop == pytest.approx(2 * op)


def test_bad_options_are_refused(tmp_path: Path) -> None:
    assert_refused("bench", "--filter", "nothing", why="op, 1x56x56x64, threads")
    assert_refused("bench", "--threads", 100_000, why="--threads 100000")
    (tmp_path / "file").touch()
    assert_refused("bench", "--json", tmp_path, why="it is a directory")
    assert_refused("bench", "--json", tmp_path / "file" / "x", why="not a directory")
    assert_refused("bench", "--plot", tmp_path / "x.txt", why=".png")


def test_without_the_kernel_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffi, "available", lambda: False)
    assert_refused("bench", why="the kernel is not live")
