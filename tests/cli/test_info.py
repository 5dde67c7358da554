import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli_driver import ended, resfuse, resfuse_without
from resfuse import __version__, cli, ffi
from resfuse.cli.app import app


def facts(output: str) -> dict[str, str]:
    """The rows of the table, whose columns are two or more spaces apart."""
    rows = (re.split(" {2,}", line.strip()) for line in output.splitlines())
    return dict(rows)


def test_info_names_versions_and_what_runs() -> None:
    table = facts(CliRunner().invoke(app, ["info"], env={"COLUMNS": "200"}).stdout)
    assert table["resfuse"] == __version__
    assert table["jax"] == version("jax")
    assert table["jaxlib"] == version("jaxlib")
    assert table["kernel"] == "live"
    assert table["ISAs found"] == ", ".join(ffi.isas())
    assert table["ISA in use"] in ffi.isas()
    assert ffi.API_VERSION is not None
    assert table["built against FFI"] == ".".join(map(str, ffi.API_VERSION))
    assert "cpu" in table["devices"].lower()


def test_info_follows_the_forced_isa_and_gives_the_threads_of_xla() -> None:
    isa = ffi.isas()[-1]
    table = facts(resfuse("info", RESFUSE_ISA=isa, NPROC="5").stdout)
    assert (table["ISA in use"], table["threads"]) == (isa, "5")


def test_info_as_json_has_the_facts_of_the_table() -> None:
    table = facts(CliRunner().invoke(app, ["info"], env={"COLUMNS": "400"}).stdout)
    document = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)
    assert document["ISAs found"] == list(ffi.isas())
    assert isinstance(document["threads"], int)
    shown = {
        name: ", ".join(value) if isinstance(value, list) else str(value)
        for name, value in document.items()
    }
    assert shown == table


def test_info_without_the_extension_says_why() -> None:
    result = resfuse_without("resfuse._ext", "info")
    assert result.returncode == 0, result.stderr
    table = facts(result.stdout)
    assert table["kernel"].startswith("not live: ")
    assert len(table["kernel"]) > len("not live: ")
    assert table["ISA in use"] == "-"


@pytest.mark.parametrize("module", ["typer", "sklearn"])
def test_without_the_extra_one_line_says_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert ended("info") == f"resfuse: {module} not installed: pip install 'resfuse[cli]'"


def test_what_a_package_of_the_extra_imports_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def app() -> None:
        raise ModuleNotFoundError(name="datasets.load")

    monkeypatch.setattr(cli.app, "app", app)
    assert ended() == "resfuse: datasets not installed: pip install 'resfuse[train]'"


def test_without_the_extra_for_training_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = resfuse_without("tensorboardX", "train")
    assert result.returncode == 1
    assert result.stderr == "resfuse: tensorboardX not installed: pip install 'resfuse[train]'\n"
