"""``resfuse convert``: published weights, or trained ones, under a library's names."""

from pathlib import Path

import resfuse
from resfuse.cli.ending import refuse
from resfuse.cli.published import load_network, refusing


def run(source: str, target: Path, scheme: str) -> None:
    """Reads weights, and writes them to a file of safetensors.

    Args:
        source: A file, a folder or a name.
        target: The file, which is replaced.
        scheme: The library whose names it gets.
    """
    if target.is_dir():
        refuse(f"{target}: it is a directory")
    network = load_network(_best(source), "")
    with refusing("--scheme", scheme):
        try:
            resfuse.save(network, target, scheme=scheme)
        except OSError as error:
            refuse(f"cannot write {target}: {error.strerror or error}")
    print(f"Wrote {target}")


def _best(source: str) -> str:
    """Of a training its checkpoint, the same that ``predict`` takes; all else as it is."""
    if not Path(source).is_dir():
        return source
    from resfuse.cli.training.trained import chosen  # which brings all of training

    return str(chosen(Path(source)))
