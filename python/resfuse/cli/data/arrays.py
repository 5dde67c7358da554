"""Images that are in memory."""

from PIL import Image

from resfuse.cli.data.dataset import Pixels
from resfuse.cli.data.labels import Labels
from resfuse.cli.data.pictures import fitted


class Arrays:
    """A source of grey images ``(n, H, W)``, brought to ``shape`` when they are asked for."""

    def __init__(self, images: Pixels, labels: Labels, shape: tuple[int, int, int]) -> None:
        self._images, self._labels, self._shape = images, labels, shape

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        image, label = self._images[index], int(self._labels[index])
        if image.shape == self._shape[:2]:
            return image[..., None], label
        return fitted(Image.fromarray(image), self._shape), label
