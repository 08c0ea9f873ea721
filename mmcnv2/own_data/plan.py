"""What the user asks for, and what comes out of looking at the data."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

#: Kinds of data, each with a module of this package. (VOC's and YOLO's are COCO's once they are converted.)
KINDS = ('coco', 'voc', 'yolo', 'label_maps', 'classes', 'images')
#: Of the options that say what is where in the data, those that a kind takes.
TAKEN = dict(
    coco=('train', 'val', 'images'),
    voc=(),
    yolo=('train', 'val', 'classes'),
    label_maps=('images', 'labels', 'classes'),
    classes=('train', 'val'),
    images=(),
)


@dataclass(frozen=True)
class Options:
    """What the user may say; what is not said is found in the data.

    Attributes:
        out: The config to write. Other files lie beside it, with names that begin like its own.
        checkpoint: Weights to start from: path, URL, ``hf://owner/name`` or ``timm://NAME``; None: random weights.
        arch: Size of the network without a checkpoint, which has its own; None: atto.
        image_size: Side in pixels, divisible by 32; None: one that suits the images.
        train: Annotation file (YOLO: list of images) or folder of the training part, relative to the data or not.
        val: Likewise for validation.
        images: Folders of the images of train and val; one is for both.
        labels: Folders of the label maps, likewise.
        classes: Names of the classes of label maps or of YOLO's labels, in the order of the labels.
    """

    out: Path
    checkpoint: str | None = None
    arch: str | None = None
    image_size: int | None = None
    train: str | None = None
    val: str | None = None
    images: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def beside(self, ending: str) -> Path:
        """Return the path of a file beside the config, absolute, e.g. ``my_config_train.json``."""
        return self.out.absolute().with_name(f'{self.out.stem}_{ending}')


@dataclass
class Plan:
    """A config for some data, before anything is written.

    Attributes:
        config: Text of the config.
        seen: What was found, and what was done about it, a line each.
        files: Text of further files by path.
        samples: Images (H, W, 3) uint8 RGB with their labels drawn on them.
        counts: Objects, images or pixels of each class; empty without classes.
        counted: What ``counts`` counts.
        sizes: Width and height of images in pixels.
    """

    config: str
    seen: list[str]
    files: dict[Path, str] = field(default_factory=dict)
    samples: list[np.ndarray] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    counted: str = 'objects'
    sizes: list[tuple[int, int]] = field(default_factory=list)
