"""``python -m resfuse.cli``."""

from resfuse.cli import main

main()
