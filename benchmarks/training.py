"""A training step of whole networks, beside PyTorch and plain Flax."""

from comparison import app
from models import Model
from options import Comparison
from resfuse.cli.bench.results import Task

# The first losses move far enough for those of a wrong step to differ, and not so far that rounding
# grows. In PyTorch, on these networks and from their losses in float64, over the largest loss:
# rounding to float32 moves none by more than 2e-5, and a perturbation of the images by 1e-6 or
# 1e-5, which is what Winograd's algorithm does, by 1e-4; gradients of the convolutions that are
# wrong by 1 % move some by 3e-4 to 3e-3, and a missing momentum by 0.04 to 0.3.
STEPS = 5
TOLERANCE = 3e-4

COMPARISON = Comparison(
    Task(
        "training",
        "training step",
        f"losses of the first {STEPS} steps",
        calls=STEPS,
        tolerance=TOLERANCE,
        at_least=0.2,
        keeps_memory=True,
    ),
    models={
        "ResNet18_CIFAR": Model(
            "linen.ResNet18", 32, (128,), num_classes=10, settings={"cifar_stem": True}
        ),
        "ResNet18_64x64": Model("linen.ResNet18", 64, (32,)),
        "ResNet50_64x64": Model("linen.ResNet50", 64, (16,)),
        "d2l_ResNet18": Model("d2l.ResNet18", 96, (128,), channels=1, num_classes=10),
        "MobileNetV2_96x96": Model("nnx.MobileNetV2", 96, (32,), torchvision="mobilenet_v2"),
        "EfficientNetB0_96x96": Model(
            "nnx.EfficientNetB0", 96, (32,), torchvision="efficientnet_b0"
        ),
    },
    engines=("resfuse", "flax", "flax-ynn-off", "pytorch", "inductor"),
    trains=True,
)

if __name__ == "__main__":
    app(COMPARISON, __doc__)()
