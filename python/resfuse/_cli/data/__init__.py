"""Images with labels: where they come from, and how they reach the network."""

from resfuse._cli.data.batches import batches, in_order
from resfuse._cli.data.dataset import Dataset, Source
from resfuse._cli.data.load import load
from resfuse._cli.data.stream import Batch, Stream

__all__ = ["Batch", "Dataset", "Source", "Stream", "batches", "in_order", "load"]
