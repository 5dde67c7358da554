"""The reference blocks and classifiers in plain Flax, written without a look at the package."""

from flax import linen as nn
from flax import nnx


class BasicBlock(nn.Module):
    features: int
    strides: int = 1
    use_bias: bool = True
    padding: str = "SAME"
    momentum: float = 0.99
    epsilon: float = 1e-5
    project: bool = False

    @nn.compact
    def __call__(self, x, use_running_average=False):
        def norm(name=None):
            return nn.BatchNorm(
                use_running_average, momentum=self.momentum, epsilon=self.epsilon, name=name
            )

        y = nn.Conv(
            self.features, (3, 3), self.strides, padding=self.padding, use_bias=self.use_bias
        )(x)
        y = nn.relu(norm()(y))
        y = nn.Conv(self.features, (3, 3), padding=self.padding, use_bias=self.use_bias)(y)
        y = norm()(y)
        if self.project:
            x = nn.Conv(
                self.features, (1, 1), self.strides, use_bias=self.use_bias, name="conv_proj"
            )(x)
            x = norm("norm_proj")(x)
        return nn.relu(y + x)


class ResNetClassifier(nn.Module):
    num_classes: int
    features: int

    @nn.compact
    def __call__(self, x, use_running_average=False):
        x = nn.Conv(self.features, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average)(x))
        x = BasicBlock(self.features)(x, use_running_average)
        x = BasicBlock(self.features)(x, use_running_average)
        return nn.Dense(self.num_classes)(x.mean(axis=(1, 2)))


class NNXBasicBlock(nnx.Module):
    def __init__(
        self,
        features,
        in_features=None,
        strides=1,
        use_bias=True,
        padding="SAME",
        momentum=0.99,
        epsilon=1e-5,
        project=False,
        *,
        rngs,
    ):
        def conv(inputs, window, strides, padding):
            return nnx.Conv(
                inputs, features, window, strides, padding=padding, use_bias=use_bias, rngs=rngs
            )

        def norm():
            return nnx.BatchNorm(features, momentum=momentum, epsilon=epsilon, rngs=rngs)

        self.conv1 = conv(in_features or features, (3, 3), strides, padding)
        self.bn1 = norm()
        self.conv2 = conv(features, (3, 3), 1, padding)
        self.bn2 = norm()
        self.project = project
        if project:
            self.conv_proj = conv(in_features or features, (1, 1), strides, "SAME")
            self.bn_proj = norm()

    def __call__(self, x, use_running_average=None):
        y = nnx.relu(self.bn1(self.conv1(x), use_running_average))
        y = self.bn2(self.conv2(y), use_running_average)
        if self.project:
            x = self.bn_proj(self.conv_proj(x), use_running_average)
        return nnx.relu(y + x)


class NNXResNetClassifier(nnx.Module):
    def __init__(self, in_channels, features, num_classes, *, rngs):
        self.stem_conv = nnx.Conv(in_channels, features, (3, 3), rngs=rngs)
        self.stem_bn = nnx.BatchNorm(features, rngs=rngs)
        self.block1 = NNXBasicBlock(features, rngs=rngs)
        self.block2 = NNXBasicBlock(features, rngs=rngs)
        self.head = nnx.Linear(features, num_classes, rngs=rngs)

    def __call__(self, x, use_running_average=None):
        x = nnx.relu(self.stem_bn(self.stem_conv(x), use_running_average))
        x = self.block1(x, use_running_average)
        x = self.block2(x, use_running_average)
        return self.head(x.mean(axis=(-3, -2)))
