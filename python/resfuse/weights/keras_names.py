"""What Keras calls the layers of our networks.

Functions are as in ``names``: from the paths of all variables to a function of a module's path.
"""

import re
from collections.abc import Iterable

from resfuse.weights.scheme import Rename, blocks, look_up, renaming

__all__ = [
    "keras_convnext",
    "keras_densenet",
    "keras_efficientnet",
    "keras_mobilenet_v2",
    "keras_mobilenet_v3",
    "keras_resnet",
    "keras_resnet_v2",
]


def keras_resnet(_: Iterable[str]) -> Rename:
    """``conv2_block1_1_conv``: stages count from 2, as the stem is 1, blocks from 1."""

    def block(match: re.Match[str]) -> str:
        return f"conv{int(match[1]) + 1}_block{int(match[2]) + 1}_"

    return renaming(
        (r"^layer(\d+)\.(\d+)\.", block),
        (r"_(conv|bn)(\d)$", r"_\2_\1"),
        (r"_downsample\.0$", "_0_conv"),
        (r"_downsample\.1$", "_0_bn"),
        (r"^conv1$", "conv1_conv"),
        (r"^bn1$", "conv1_bn"),
        (r"^fc$", "predictions"),
    )


def keras_resnet_v2(_: Iterable[str]) -> Rename:
    """``conv2_block1_preact_bn``; a norm is counted with the convolution before it."""

    def block(match: re.Match[str]) -> str:
        return f"conv{int(match[1]) + 2}_block{int(match[2]) + 1}_"

    return renaming(
        (r"^stages\.(\d+)\.blocks\.(\d+)\.", block),
        (r"_conv(\d)$", r"_\1_conv"),
        (r"_norm1$", "_preact_bn"),
        (r"_norm(\d)$", lambda match: f"_{int(match[1]) - 1}_bn"),
        (r"_downsample\.conv$", "_0_conv"),
        (r"^stem\.conv$", "conv1_conv"),
        (r"^norm$", "post_bn"),
        (r"^head\.fc$", "predictions"),
    )


def keras_densenet(_: Iterable[str]) -> Rename:
    """``conv2_block1_0_bn``, and ``pool2_conv`` after it: the stem is number 1."""

    def layer(match: re.Match[str]) -> str:
        kind, number = match[3], int(match[4])
        last = f"{number - 1}_bn" if kind == "norm" else f"{number}_conv"
        return f"conv{int(match[1]) + 2}_block{int(match[2]) + 1}_{last}"

    def transition(match: re.Match[str]) -> str:
        return f"pool{int(match[1]) + 2}_{'bn' if match[2] == 'norm' else 'conv'}"

    return renaming(
        (r"^denseblocks\.(\d+)\.(\d+)\.(norm|conv)(\d)$", layer),
        (r"^transitions\.(\d+)\.(norm|conv)$", transition),
        (r"^conv0$", "conv1_conv"),
        (r"^norm0$", "conv1_bn"),
        (r"^norm5$", "bn"),
        (r"^classifier$", "predictions"),
    )


def keras_convnext(_: Iterable[str]) -> Rename:
    """``stage_0_block_0_depthwise_conv``, after the network's name."""

    def downsample(match: re.Match[str]) -> str:
        kind = "layernorm" if match[2] == "norm" else "conv"
        return f"downsampling_{kind}_{int(match[1]) - 1}"

    return renaming(
        (r"^stages\.(\d+)\.downsample\.(norm|conv)$", downsample),
        (r"^stages\.(\d+)\.blocks\.(\d+)$", r"stage_\1_block_\2_layer_scale"),
        (r"^stages\.(\d+)\.blocks\.(\d+)\.", r"stage_\1_block_\2_"),
        (r"(_block_\d+)_conv$", r"\1_depthwise_conv"),
        (r"(_block_\d+)_norm$", r"\1_layernorm"),
        (r"(_block_\d+)_fc(\d)$", r"\1_pointwise_conv_\2"),
        (r"^stem\.conv$", "stem_conv"),
        (r"^stem\.norm$", "stem_layernorm"),
        (r"^norm$", "head_layernorm"),
        (r"^fc$", "head_dense"),
    )


def keras_mobilenet_v2(paths: Iterable[str]) -> Rename:
    """``block_1_depthwise`` and ``block_1_depthwise_BN``; the first block has a name of its own."""
    names = {"stem.conv": "Conv1", "stem.bn": "bn_Conv1", "classifier.fc": "predictions"}
    names |= {"head.conv": "Conv_1", "head.bn": "Conv_1_bn"}
    for position, (stage, index) in enumerate(blocks(paths)):
        theirs = f"block_{position}" if position else "expanded_conv"
        _inverted_residual(names, f"stages.{stage}.{index}", theirs, "BN")
    return look_up(names)


def keras_mobilenet_v3(paths: Iterable[str]) -> Rename:
    """``expanded_conv_1_depthwise`` and ``expanded_conv_1_depthwise_bn``."""
    names = {"stem.conv": "conv", "stem.bn": "conv_bn", "classifier.fc": "logits"}
    names |= {"head.conv": "conv_1", "head.bn": "conv_1_bn", "classifier.hidden": "conv_2"}
    for position, (stage, index) in enumerate(blocks(paths)):
        theirs = f"expanded_conv_{position}" if position else "expanded_conv"
        ours = f"stages.{stage}.{index}"
        _inverted_residual(names, ours, theirs, "bn")
        names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}_squeeze_excite_conv"
        names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}_squeeze_excite_conv_1"
    return look_up(names)


def _inverted_residual(names: dict[str, str], ours: str, theirs: str, norm: str) -> None:
    for layer in ("expand", "depthwise", "project"):
        names[f"{ours}.{layer}.conv"] = f"{theirs}_{layer}"
        names[f"{ours}.{layer}.bn"] = f"{theirs}_{layer}_{norm}"


def keras_efficientnet(paths: Iterable[str]) -> Rename:
    """``block2a_expand_conv``: blocks have letters, and the depthwise norm no name of its own."""
    names = {"stem.conv": "stem_conv", "stem.bn": "stem_bn", "classifier.fc": "predictions"}
    names |= {"head.conv": "top_conv", "head.bn": "top_bn"}
    layers = (
        ("expand", "expand_conv", "expand_bn"),
        ("depthwise", "dwconv", "bn"),
        ("project", "project_conv", "project_bn"),
    )
    for stage, index in blocks(paths):
        ours, theirs = f"stages.{stage}.{index}", f"block{stage + 1}{chr(ord('a') + index)}"
        for layer, conv, norm in layers:
            names[f"{ours}.{layer}.conv"] = f"{theirs}_{conv}"
            names[f"{ours}.{layer}.bn"] = f"{theirs}_{norm}"
        names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}_se_reduce"
        names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}_se_expand"
    return look_up(names)
