"""How different the channels of a network are, layer by layer: the feature cosine distance of ConvNeXt V2's paper.

(arXiv 2301.00808, section 4 and figure 4.) A layer is what a block computes after its expansion to 4C channels and
GELU; there the paper saw channels of the first version collapse in masked pre-training: dead, saturated, or all alike.
"""

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmcnv2.utils.errors import InputError

#: A channel whose standard deviation is below this share of its layer's is dead.
DEAD = 1e-3
#: A channel whose standard deviation is below this share of its mean is saturated, unless it is dead.
SATURATED = 0.1
#: Deviations below this share of the mean are float32's rounding of a constant.
ROUNDING = 1e-5


class LayerDiversity(NamedTuple):
    """What was found in a layer.

    Attributes:
        layer: Name of the block, ``stages.I.J``.
        channels: How many channels were compared, 4C.
        distance: Mean over the images of ``channel_distance``, in [0, 1].
        deviation: Standard deviation over the images of the same.
        dead: Number of channels that are zero or constant over all positions of all images: their standard deviation
            is at most ``DEAD`` times that of the layer (root of the mean variance of its channels).
        saturated: Number of the others that hardly leave their mean: a standard deviation of at most ``SATURATED``
            times the absolute mean.
    """

    layer: str
    channels: int
    distance: float
    deviation: float
    dead: int
    saturated: int


def channel_distance(maps: Tensor) -> Tensor:
    """Return the mean of ``(1 - cos(i, j)) / 2`` over all pairs of different channels i, j of an image.

    It is 0 if all channels are multiples of one map by positive numbers, 1/2 if they are orthogonal, and 1 if there
    are two that are opposite. (The paper's mean also has the pairs of a channel with itself: 1 - 1/C times this one.)
    The sum of all cosines is the squared length of the sum of the unit vectors, so no matrix of pairs is made.

    Args:
        maps: (N, ..., C) float, the positions between the first and the last dimension. Channels that are zero have
            no direction and are left out; with fewer than two others the distance is 0.

    Returns:
        (N,) float64.
    """
    x = maps.flatten(1, -2)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    norm = x.square().sum(dim=1, keepdim=True).sqrt()  # (N, 1, C); on a CPU half the time of vector_norm
    inverse = torch.where(norm > 0, 1 / norm, 0)
    total = (x @ inverse.mT).double()  # (N, P, 1), the sum of the unit vectors
    count = (norm > 0).sum(dim=(1, 2)).double()
    cosines = total.square().sum(dim=(1, 2)) - count  # the cosine of a channel with itself is 1
    distance = (1 - cosines / (count * (count - 1)).clamp(min=1)) / 2
    return torch.where(count > 1, distance.clamp(0, 1), 0)


class DiversityProbe:
    """Measure the layers of a backbone in all that it computes within ``with probe:``.

    Memory does not grow with the number of images, but for a few numbers each. After the block, the backbone is as it
    was. (A function that ``torch.compile`` made of it does not see the probe.)

    Args:
        backbone: ConvNeXt or ConvNeXt V2, in the mode in which it is to compute.
        after_grn: Measure behind the GRN of a block instead of before it. GRN multiplies each channel by a number of
            its own and adds another. The former changes no cosine but by its sign, so the two differ by ``beta`` and
            by negative factors only. A block without GRN gives the same either way.

    Raises:
        InputError: If the backbone has no blocks that can be measured.
    """

    def __init__(self, backbone: nn.Module, after_grn: bool = False) -> None:
        self._layers: dict[str, tuple[nn.Module, _LayerStatistics]] = {}
        for name, block in backbone.named_modules():
            if hasattr(block, 'pwconv1') and hasattr(block, 'pwconv2'):
                has_grn = hasattr(block, 'grn') and not after_grn
                self._layers[name] = (block.grn if has_grn else block.pwconv2, _LayerStatistics())
        if not self._layers:
            raise InputError(f'{type(backbone).__name__} has no ConvNeXt blocks, whose channels could be compared')
        self._hooks = ExitStack()

    def __enter__(self) -> 'DiversityProbe':
        for module, statistics in self._layers.values():
            self._hooks.callback(module.register_forward_pre_hook(statistics.take_input).remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.close()

    def result(self) -> list[LayerDiversity]:
        """Return what was found so far, a row for each layer in the order of the network.

        Raises:
            InputError: If nothing was computed.
        """
        return [statistics.result(name) for name, (_, statistics) in self._layers.items()]


class _LayerStatistics:
    """Distances by image, mean and variance of each channel over everything seen."""

    def __init__(self) -> None:
        self.distances: list[float] = []
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.sum_of_squares: Tensor | float = 0.0  # of deviations from the mean

    @torch.no_grad()
    def take_input(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Take in the channels (N, ..., C) that a module is given; a forward pre-hook."""
        x = args[0]
        self.distances += channel_distance(x).tolist()
        x = x.flatten(0, -2)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = x.mean(dim=0)
        variance = (x - mean).square_().mean(dim=0).double()  # on a CPU a third of the time of torch.var_mean
        mean = mean.double()
        # Chan, Golub and LeVeque (1979): exact where squares of single values would cancel.
        old, new = self.count, x.shape[0]
        self.count = old + new
        difference = mean - self.mean
        self.mean = self.mean + difference * (new / self.count)
        self.sum_of_squares = self.sum_of_squares + variance * new + difference.square() * (old * new / self.count)

    def result(self, name: str) -> LayerDiversity:
        if not isinstance(self.mean, Tensor) or not isinstance(self.sum_of_squares, Tensor):
            raise InputError(f'{name} was given no images, so there are no channels to compare')
        variance = self.sum_of_squares / self.count
        level = self.mean.square()
        dead = (variance <= DEAD**2 * variance.mean()) | (variance <= ROUNDING**2 * level)
        saturated = ~dead & (variance <= SATURATED**2 * level)
        distances = torch.tensor(self.distances, dtype=torch.float64)
        return LayerDiversity(
            layer=name,
            channels=variance.numel(),
            distance=distances.mean().item(),
            deviation=distances.std(correction=0).item(),
            dead=int(dead.sum()),
            saturated=int(saturated.sum()),
        )
