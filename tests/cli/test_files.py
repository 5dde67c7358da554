"""What is refused before the work begins, and that results appear whole or not at all."""

import errno
import fcntl
import signal
from pathlib import Path

import pytest

from cli_driver import assert_refused
from resfuse.cli.ending import held_back
from resfuse.cli.files import claimed, publish, staging
from resfuse.kernel import extension


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("mine")
    return path


def test_out_that_is_a_file_is_refused(file: Path) -> None:
    assert_refused("demo", "--out", file, why=f"cannot write to {file}: it is not a directory")
    assert file.read_text() == "mine"


def test_out_below_a_file_is_refused(file: Path) -> None:
    assert_refused("demo", "--out", file / "below", why="Not a directory")


@pytest.mark.parametrize("command", ["demo", "train"])
def test_out_that_nobody_may_write_is_refused(command: str) -> None:
    assert_refused(command, "--out", "/proc/resfuse", why="cannot write to /proc/resfuse")


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--out", ""),
        ("train", "--out", ""),
        ("train", "--data", " "),
        ("predict", "", "picture"),
        ("predict", "run", ""),
        ("bench", "--json", ""),
        ("bench", "--plot", ""),
    ],
)
def test_an_empty_path_is_not_the_working_directory(arguments: tuple[str, ...]) -> None:
    assert_refused(*arguments, why="it is empty")


@pytest.mark.parametrize("command", ["demo", "train"])
def test_out_whose_name_is_not_utf_8_is_refused(command: str, tmp_path: Path) -> None:
    assert_refused(command, "--out", f"{tmp_path}/caf\udce9", why="its name is not UTF-8")


@pytest.mark.parametrize("command", [("demo",), ("train",), ("train", "--resume")])
def test_out_that_another_command_writes_into_is_refused(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    with claimed(tmp_path / "out"):
        why = f"cannot write to {tmp_path / 'out'}: another command is writing there"
        assert_refused(*command, "--out", tmp_path / "out", why=why)
        assert not list((tmp_path / "out").iterdir())
    with claimed(tmp_path / "out"):  # as before
        pass
    assert not list(tmp_path.iterdir())


def test_a_claim_is_refused_only_where_there_are_locks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path), claimed(tmp_path):
        pass


def test_a_checkpoint_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    assert_refused("demo", "--out", tmp_path, why="choose another --out")


@pytest.mark.parametrize("option", ["--epochs=0", "--epochs=x", "--seed=-1"])
def test_bad_options_are_refused(option: str, tmp_path: Path) -> None:
    assert_refused("demo", option, "--out", tmp_path, why=option.partition("=")[0])


def test_unknown_implementations_are_refused(tmp_path: Path) -> None:
    assert_refused("demo", "--implementation", "cuda", "--out", tmp_path, why="'ffi', 'xla'")


def test_the_kernel_is_refused_where_it_is_not_live(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extension, "available", lambda: False)
    monkeypatch.setattr(extension, "unavailable_reason", lambda: "it was not built")
    options = ("--implementation", "ffi", "--out", tmp_path / "out")
    why = "--implementation ffi: the kernel is not live: it was not built"
    assert_refused("demo", *options, why=why)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["", "new/deeper"])
def test_interrupted_work_leaves_nothing_and_keeps_what_was_there(below: str, file: Path) -> None:
    def work() -> None:
        with staging(file.parent / below) as scratch:
            (scratch / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(file.parent.iterdir()) == [file]
    assert file.read_text() == "mine"


def test_published_files_and_directories_replace_what_was_there(file: Path) -> None:
    folder = file.parent / "folder"
    (folder / "old").mkdir(parents=True)
    with staging(file.parent) as scratch:
        (scratch / "file").write_text("result")
        (scratch / "folder").mkdir()
        (scratch / "folder" / "new").touch()
        publish(scratch, file, folder)
    assert sorted(file.parent.iterdir()) == [file, folder]
    assert file.read_text() == "result"
    assert list(folder.iterdir()) == [folder / "new"]


def test_ctrl_c_waits_for_the_right_moment() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with held_back() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is handler
