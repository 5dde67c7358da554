"""``resfuse convert``: published weights under another library's names."""

from pathlib import Path

import resfuse
from resfuse.cli.ending import refuse
from resfuse.cli.published import load_network, refusing


def run(source: str, target: Path, scheme: str) -> None:
    """Reads weights, and writes them to a file of safetensors.

    Args:
        source: A file or a name.
        target: The file, which is replaced.
        scheme: The library whose names it gets.
    """
    if target.is_dir():
        refuse(f"{target}: it is a directory")
    network = load_network(source, "")
    with refusing("--scheme", scheme):
        try:
            resfuse.save(network, target, scheme=scheme)
        except OSError as error:
            refuse(f"cannot write {target}: {error.strerror or error}")
    print(f"Wrote {target}")
