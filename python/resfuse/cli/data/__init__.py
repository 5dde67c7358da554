"""Images with labels: where they come from, and how they reach the network."""

from resfuse.cli.data.batches import batches, in_order
from resfuse.cli.data.dataset import Dataset, Source
from resfuse.cli.data.load import load
from resfuse.cli.data.stream import Batch, Stream

__all__ = ["Batch", "Dataset", "Source", "Stream", "batches", "in_order", "load"]
