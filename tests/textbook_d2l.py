"""The networks of "Dive into Deep Learning" in plain Flax, written from the book alone."""

from flax import linen as nn


class Residual(nn.Module):
    num_channels: int
    use_1x1conv: bool = False
    strides: tuple = (1, 1)
    training: bool = True

    def setup(self):
        self.conv1 = nn.Conv(
            self.num_channels, kernel_size=(3, 3), padding="same", strides=self.strides
        )
        self.conv2 = nn.Conv(self.num_channels, kernel_size=(3, 3), padding="same")
        if self.use_1x1conv or self.strides != (1, 1):
            self.conv3 = nn.Conv(self.num_channels, kernel_size=(1, 1), strides=self.strides)
        else:
            self.conv3 = None
        self.bn1 = nn.BatchNorm(not self.training)
        self.bn2 = nn.BatchNorm(not self.training)

    def __call__(self, x):
        y = nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.conv3:
            x = self.conv3(x)
        return nn.relu(y + x)


class ResNeXtBlock(nn.Module):
    num_channels: int
    groups: int
    bot_mul: float
    use_1x1conv: bool = False
    strides: tuple = (1, 1)
    training: bool = True

    def setup(self):
        bot_channels = round(self.num_channels * self.bot_mul)
        self.conv1 = nn.Conv(bot_channels, kernel_size=(1, 1))
        self.conv2 = nn.Conv(
            bot_channels,
            kernel_size=(3, 3),
            strides=self.strides,
            padding="same",
            feature_group_count=self.groups,
        )
        self.conv3 = nn.Conv(self.num_channels, kernel_size=(1, 1))
        self.bn1 = nn.BatchNorm(not self.training)
        self.bn2 = nn.BatchNorm(not self.training)
        self.bn3 = nn.BatchNorm(not self.training)
        if self.use_1x1conv:
            self.conv4 = nn.Conv(self.num_channels, kernel_size=(1, 1), strides=self.strides)
            self.bn4 = nn.BatchNorm(not self.training)
        else:
            self.conv4 = None

    def __call__(self, x):
        y = nn.relu(self.bn1(self.conv1(x)))
        y = nn.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.conv4:
            x = self.bn4(self.conv4(x))
        return nn.relu(y + x)


class ResNet(nn.Module):
    arch: tuple
    num_classes: int = 10
    training: bool = True

    def setup(self):
        head = nn.Sequential(
            [
                lambda x: nn.avg_pool(
                    x, window_shape=x.shape[1:3], strides=x.shape[1:3], padding="valid"
                ),
                lambda x: x.reshape((x.shape[0], -1)),
                nn.Dense(self.num_classes),
            ]
        )
        stages = [self.stage(*stage, first=i == 0) for i, stage in enumerate(self.arch)]
        self.net = nn.Sequential([self.stem(), *stages, head])

    def stem(self):
        return nn.Sequential(
            [
                nn.Conv(64, kernel_size=(7, 7), strides=(2, 2), padding="same"),
                nn.BatchNorm(not self.training),
                nn.relu,
                lambda x: nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="same"),
            ]
        )

    def stage(self, num_residuals, num_channels, first):
        blocks = []
        for i in range(num_residuals):
            if i == 0 and not first:
                block = Residual(num_channels, True, (2, 2), training=self.training)
            else:
                block = Residual(num_channels, training=self.training)
            blocks.append(block)
        return nn.Sequential(blocks)

    def __call__(self, x):
        return self.net(x)
