"""resfuse beside the engines that people use instead: a basic block, and ResNet-18.

Every engine is a process of its own, all of them with the same threads and batch, and they take
turns. JAX gets its weights as arguments of the call; ONNX Runtime and OpenVINO fold theirs.
"""

import argparse
import contextlib
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from turns import Engine, serve

CASES = {"block": (56, 56, 64), "resnet18": (224, 224, 3)}
NEEDS = {
    "resfuse": ("resfuse",),
    "flax": ("resfuse",),
    "flax, YNN off": ("resfuse",),
    "pytorch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnx", "torch"),
    "openvino": ("openvino", "onnx", "torch"),
}
XLA_FLAGS = {"flax, YNN off": "--xla_cpu_experimental_ynn_fusion_type="}

Call = Callable[[], Any]


def jax_call(case: str, batch: int, implementation: str | None) -> Call:
    """Flax modules, on the kernel or on XLA."""
    import jax
    from flax import linen

    from resfuse import d2l

    model: linen.Module
    if case == "block":
        model = d2l.Residual(64, training=False, implementation=implementation)
    else:
        model = d2l.ResNet18(num_classes=1000, training=False, implementation=implementation)
    x = jax.random.normal(jax.random.key(0), (batch, *CASES[case]))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    apply = jax.jit(model.apply)
    return lambda: apply(variables, x).block_until_ready()


def torch_call(case: str, batch: int, threads: int) -> Call:
    """PyTorch, eager, channels last."""
    import torch

    import torch_networks

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model, x = torch_networks.make(CASES[case], batch)
    return lambda: model(x)


def onnxruntime_call(case: str, batch: int, threads: int) -> Call:
    """ONNX Runtime with all of its optimisations, which are its default."""
    import onnxruntime

    import torch_networks

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path, x = torch_networks.export(CASES[case], batch, folder)
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def openvino_call(case: str, batch: int, threads: int) -> Call:
    """OpenVINO, in float32, for latency."""
    import openvino

    import torch_networks

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    with tempfile.TemporaryDirectory() as folder:
        path, x = torch_networks.export(CASES[case], batch, folder)
        request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda: request.infer([x], share_inputs=True)


@functools.cache
def build(engine: str, case: str, batch: int, threads: int) -> Call:
    """The case on the engine, compiled and warm."""
    calls: dict[str, Callable[[], Call]] = {
        "resfuse": lambda: jax_call(case, batch, "ffi"),
        "pytorch": lambda: torch_call(case, batch, threads),
        "onnxruntime": lambda: onnxruntime_call(case, batch, threads),
        "openvino": lambda: openvino_call(case, batch, threads),
    }
    call = calls.get(engine, lambda: jax_call(case, batch, "xla"))()
    call()
    return call


def seconds(engine: str, case: str, batch: int, threads: int) -> float:
    """The mean of a call, over at least a fifth of a second."""
    call = build(engine, case, batch, threads)
    call()  # fills the caches that the engine before has emptied
    calls, elapsed, start = 0, 0.0, time.perf_counter()
    while elapsed < 0.2:
        call()
        calls, elapsed = calls + 1, time.perf_counter() - start
    return elapsed / calls


def main() -> None:
    """Prints one row a case: medians in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        engines = {}
        for name, packages in NEEDS.items():
            if missing := [package for package in packages if not find_spec(package)]:
                print(f"{name} is left out: {', '.join(missing)} not installed")
                continue
            engines[name] = Engine(
                __file__, options.threads, "worker", xla_flags=XLA_FLAGS.get(name, "")
            )
            stack.callback(engines[name].close)
        print(f"{'ms, threads: ' + str(options.threads):18}", *(f"{name:>14}" for name in engines))
        for case in CASES:
            for batch in options.batch:
                rounds = [
                    [
                        engine.ask([name, case, batch, options.threads])
                        for name, engine in engines.items()
                    ]
                    for _ in range(options.rounds)
                ]
                medians = (1e3 * statistics.median(each) for each in zip(*rounds, strict=True))
                row = (f"{each:14.2f}" for each in medians)
                print(f"{f'{case}, batch {batch}':18}", *row, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        serve(seconds)
    else:
        main()
