"""What torchvision and timm call the modules of the NNX networks."""


def timm_mobilenet(state):
    """``blocks.1.0.conv_dw`` and ``bn2``; a block that does not expand has one layer fewer."""
    stages, late = state["stages"], "hidden" in state["classifier"]
    head = ("blocks.{}.0.conv", "blocks.{}.0.bn1") if late else ("conv_head", "bn2")
    conv, norm = (name.format(len(stages)) for name in head)
    names = {
        "stem.conv": "conv_stem",
        "stem.bn": "bn1",
        "head.conv": conv,
        "head.bn": norm,
        "classifier.hidden": "conv_head",
        "classifier.fc": "classifier",
    }
    for stage, blocks in stages.items():
        for index, block in blocks.items():
            ours, theirs = f"stages.{stage}.{index}", f"blocks.{stage}.{index}"
            order = ("expand", "depthwise", "project")
            order = order if "expand" in block else order[1:]
            convs = ("pw", "dw", "pwl") if "expand" in block else ("dw", "pw")
            for number, (layer, conv) in enumerate(zip(order, convs, strict=True), 1):
                names[f"{ours}.{layer}.conv"] = f"{theirs}.conv_{conv}"
                names[f"{ours}.{layer}.bn"] = f"{theirs}.bn{number}"
            names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}.se.conv_reduce"
            names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}.se.conv_expand"
    return lambda modules, leaf: f"{names['.'.join(map(str, modules))]}.{leaf}"
