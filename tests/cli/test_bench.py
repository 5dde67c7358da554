import json
import os
import statistics
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli_driver import assert_refused, resfuse_without
from resfuse import ffi
from resfuse.cli.app import app
from resfuse.cli.cases import CASES, Case
from resfuse.cli.engines import ENGINES, workers

OURS, STOCK, YNN_OFF = ENGINES


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one short run writes."""
    out = tmp_path_factory.mktemp("bench")
    options = ("--filter", "4x4x3", "--rounds", 2, "--threads", 1)
    files = ("--json", out / "bench.json", "--plot", out / "bench.png")
    command = list(map(str, ("bench", *options, *files)))
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    (out / "table.txt").write_text(result.stdout)
    return out


@pytest.fixture(scope="module")
def document(written: Path) -> dict[str, Any]:
    return dict(json.loads((written / "bench.json").read_text()))


def test_json_says_what_was_measured_with_what(document: dict[str, Any]) -> None:
    assert set(document["versions"]) == {"resfuse", "jax", "jaxlib", "flax"}
    assert document["isa"] in ffi.isas()
    assert document["threads"] == 1
    assert document["cpu"]
    assert [each["name"] for each in document["results"]] == ["1x4x4x3 op", "1x4x4x3 block"]
    flags = {name: engine["xla_flags"] for name, engine in document["engines"].items()}
    assert flags[OURS] == flags[STOCK] == ""
    assert "ynn" in flags[YNN_OFF]


def test_figures_follow_from_the_raw_rounds(document: dict[str, Any]) -> None:
    for each in document["results"]:
        ours, stock, ynn_off = (each["seconds"][name] for name in (OURS, STOCK, YNN_OFF))
        assert len(ours) == len(stock) == len(ynn_off) == 2
        assert min(ours + stock + ynn_off) > 0
        ratios = [min(stock[i], ynn_off[i]) / ours[i] for i in range(2)]
        assert each["ratio"] == {
            "median": statistics.median(ratios),
            "min": min(ratios),
            "max": max(ratios),
        }
        assert each["milliseconds"][STOCK] == pytest.approx(1e3 * statistics.median(stock))
        rates = [each["gflop"] / ours[i] / each["fma_peak_gflops"][i] for i in range(2)]
        assert each["share_of_peak"] == pytest.approx(statistics.median(rates))


def test_table_shows_the_figures_of_the_json(written: Path, document: dict[str, Any]) -> None:
    table = (written / "table.txt").read_text()
    for each in document["results"]:
        row = next(line.split() for line in table.splitlines() if each["name"] in line)
        assert row[2:5] == [f"{each['milliseconds'][name]:.3f}" for name in ENGINES]
        assert row[5] == f"{each['ratio']['median']:.2f}"
        assert row[7] == f"{each['share_of_peak']:.1%}"


def test_plot_is_a_picture_and_nothing_else_is_left(written: Path) -> None:
    assert (written / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert {each.name for each in written.iterdir()} == {"bench.json", "bench.png", "table.txt"}


def test_each_engine_has_its_flags_and_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    allowed = os.sched_getaffinity(0)
    with workers(1) as started:
        for name, worker in started.items():
            process = worker.process.pid
            assert len(os.sched_getaffinity(process)) == 1
            while not (environment := Path(f"/proc/{process}/environ").read_bytes()):
                assert worker.process.poll() is None  # between fork and exec there is none yet
            environment = environment.split(b"\0")
            assert f"XLA_FLAGS={ENGINES[name].xla_flags}".encode() in environment
    assert os.sched_getaffinity(0) == allowed
    assert all(worker.process.poll() is not None for worker in started.values())


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
    assert Case(5, size, 3, "op").gflop == pytest.approx(op)
    assert Case(5, size, 3, "block").gflop == pytest.approx(2 * op)


def test_an_unknown_case_is_refused_with_the_known_ones() -> None:
    assert_refused("bench", "--filter", "nothing", why=", ".join(case.name for case in CASES))


def test_more_threads_than_cpus_are_refused() -> None:
    assert_refused("bench", "--threads", 100_000, why="--threads 100000")


def test_files_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_refused("bench", "--json", tmp_path, why="it is a directory")
    assert_refused("bench", "--json", tmp_path / "file" / "x", why="not a directory")
    assert_refused("bench", "--plot", tmp_path / "x.txt", why=".png")


def test_without_the_kernel_there_is_nothing_to_measure() -> None:
    result = resfuse_without("resfuse._ext", "bench")
    assert result.returncode == 2
    assert "the kernel is not live" in result.stderr
