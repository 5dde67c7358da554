"""The records of benchmarks, and what documents show of them."""

import dataclasses
import json
from pathlib import Path

import pytest
import typer

import history
from resfuse.cli.bench.record import Record
from resfuse.cli.bench.results import OURS, Case, Engine, Result, Task, Timings

TASK = Task("inference", "call", "logits", calls=1, tolerance=1e-3, at_least=0.01)
BLOCK = "before\n\n<!-- record: inference-avx2 -->\nold\n<!-- end of record -->\n\nafter\n"


def record(date: str, flax: float) -> Record:
    """Resfuse takes 10 ms in three rounds, Flax as many seconds as given."""
    engines = {
        OURS: Engine("resfuse", OURS, "a.module", "fuse"),
        "flax": Engine("Flax", "Flax", "a.module", "xla", "--flag", ("numpy",)),
    }
    times = {OURS: [0.01] * 3, "flax": [0.9 * flax, flax, 1.2 * flax]}
    timings = {name: Timings(each, [50.0] * 3, 1.0, 0.0) for name, each in times.items()}
    result = Result(TASK, Case("ResNet18", "batch 8", 2, 20.0), engines, timings)
    here = Record.here_and_now([result])
    return dataclasses.replace(
        here,
        date=date,
        processor="A processor",
        caches=["L2 1024 KiB"],
        isas=["avx512", "avx2"],
        isa="avx2",
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record("2026-01-31", 0.02)
    written.write(tmp_path / "x.json")
    read = Record.read(tmp_path / "x.json")
    ours, theirs = (dataclasses.replace(each, results=[]) for each in (written, read))
    assert theirs == ours
    (before,), (after,) = written.results, read.results
    assert (after.task, after.case, after.timings) == (before.task, before.case, before.timings)
    assert after.libraries == before.libraries
    assert {"numpy", "python", "resfuse"} <= read.versions.keys()


def test_a_record_does_not_say_where_its_files_were(tmp_path: Path) -> None:
    record("2026-01-31", 0.02).write(tmp_path / "x.json")
    engines = json.loads((tmp_path / "x.json").read_text())["engines"]
    assert engines["flax"] == {
        "heading": "Flax",
        "library": "Flax",
        "xla_flags": "--flag",
        "isa": "",
    }


def test_the_setting_says_who_was_kept_from_the_best_instructions() -> None:
    limited = record("2026-01-31", 0.02)
    assert "avx2 for resfuse, of a machine with avx512, jax" in limited.setting
    assert "for resfuse" not in dataclasses.replace(limited, isa="avx512").setting
    (result,) = limited.results
    engines = {name: engine._replace(isa="avx2") for name, engine in result.engines.items()}
    all_limited = Record.here_and_now([dataclasses.replace(result, engines=engines)])
    assert all_limited.isa == "avx2"
    setting = dataclasses.replace(all_limited, isas=["avx512", "avx2"]).setting
    assert "avx2 for all engines, of a machine with avx512, jax" in setting


def test_documents_show_the_newest_record(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(BLOCK)
    for folder in ("docs", "benchmarks"):
        (tmp_path / folder).mkdir()
    for date, flax in ("2026-02-01", 0.04), ("2026-01-31", 0.02):
        record(date, flax).write(tmp_path / "x.json")
        kept = history.keep(tmp_path, tmp_path / "x.json")
        assert kept.name == f"inference-avx2-{date}.json"
    documents = [tmp_path / "README.md", tmp_path / "docs/page.md"]
    documents[1].write_text(BLOCK)
    assert list(history.update(tmp_path, write=False)) == documents
    assert documents[0].read_text() == BLOCK
    assert list(history.update(tmp_path, write=True)) == documents
    assert list(history.update(tmp_path, write=False)) == []
    assert "(docs/inference-avx2.png)" in documents[0].read_text()
    assert "(inference-avx2.png)" in documents[1].read_text()
    text = (tmp_path / "README.md").read_text()
    assert "| ResNet18, batch 8 | 10 | 40 (Flax) | 4.00 (3.60-4.80) | 4.0 |\n" in text
    assert "2026-02-01: A processor, avx2 for resfuse" in text
    assert "; L2 1024 KiB; threads: 2, of " in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert (tmp_path / "docs/inference-avx2.png").read_bytes().startswith(b"\x89PNG")


def test_a_block_without_a_record_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text(BLOCK)
    with pytest.raises(typer.Exit):
        list(history.update(tmp_path, write=False))
    assert "no record inference-avx2" in capsys.readouterr().err
