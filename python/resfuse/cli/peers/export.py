"""A process that writes a network as ONNX, by torch. It takes part in no measurement."""

import warnings

import torch

from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.torch_networks import network
from resfuse.cli.turns import serve


def export(folder: str, batch: int) -> None:
    """Writes the network for this batch size."""
    prepared = Prepared(folder)
    model = network(prepared).eval().to(memory_format=torch.contiguous_format)
    x = torch.from_numpy(prepared.images_channels_first(batch))
    with warnings.catch_warnings():
        # The newer exporter, which the warnings recommend, needs more packages and gains nothing.
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), str(prepared.onnx(batch)), input_names=["x"], dynamo=False)


if __name__ == "__main__":
    serve(export)
