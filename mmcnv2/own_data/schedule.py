"""How long and how fast to train, from the number of images. The numbers are starting points, none is tuned."""

import math
from dataclasses import dataclass

from .network import Network

#: Iterations of a training with labels: of Mask R-CNN on nuclei (docs/start/first_hour.md) an hour of a CPU core.
ITERATIONS = 2000
_FEWEST, _MOST_EPOCHS, _FEWEST_EPOCHS = 400, 200, 12
#: Images that a pre-training looks at: half as many again as in configs/evidence.
PRETRAINING_IMAGES = 140_000


@dataclass(frozen=True)
class Schedule:
    """Batch, length and learning rate.

    Attributes:
        batch_size: Images of an iteration.
        length: Iterations, or epochs of a pre-training.
        lr: Learning rate of AdamW.
        length_said: The arithmetic of the length.
        lr_said: That of the rate.
    """

    batch_size: int
    length: int
    lr: float
    length_said: str
    lr_said: str


def finetuning(num_images: int, batch_size: int, lr: float, reference_batch: int, network: Network) -> Schedule:
    """Return the schedule of a training with labels, counted in iterations.

    Args:
        num_images: To train on.
        batch_size: At most so many; never more than there are images, but two.
        lr: Rate that is known to work for a small network at the reference batch.
        reference_batch: Images of that batch.
        network: Larger ones than nano take a quarter of the rate.
    """
    batch_size = max(2, min(batch_size, num_images))
    of_epochs = [math.ceil(epochs * num_images / batch_size) for epochs in (_FEWEST_EPOCHS, _MOST_EPOCHS)]
    length = max(_FEWEST, min(max(ITERATIONS, of_epochs[0]), of_epochs[1]))
    length = round_up(length, 100)
    epochs = length * batch_size / num_images
    rate, said = _rate(lr, batch_size, reference_batch, network, shrink=4)
    return Schedule(
        batch_size, length, rate, f'{length} * {batch_size} images / {num_images} = {epochs:.0f} epochs', said
    )


def pretraining(num_images: int, network: Network) -> Schedule:
    """Return the schedule of a pre-training, counted in epochs."""
    batch_size = max(1, min(32, num_images))
    epochs = min(400, max(100, round(PRETRAINING_IMAGES / num_images, -1)))
    rate, said = _rate(1.5e-3, batch_size, 64, network, shrink=2)
    if network.checkpoint:
        rate, said = round_to_two(rate / 2), f'{said} / 2, since it goes on from weights'
    said_length = f'about {PRETRAINING_IMAGES:,} images / {num_images:,}, within 100 to 400'
    return Schedule(batch_size, int(epochs), rate, said_length, said)


def _rate(lr: float, batch_size: int, reference: int, network: Network, shrink: int) -> tuple[float, str]:
    rate, said = lr * math.sqrt(batch_size / reference), f'{lr:g} * sqrt(batch {batch_size} / {reference})'
    if not network.is_small:
        rate, said = rate / shrink, f'{said} / {shrink}, since the network is larger than nano'
    return round_to_two(rate), said


def round_to_two(number: float) -> float:
    """Return a number with two significant digits."""
    return float(f'{number:.1e}')


def round_up(number: float, multiple: int) -> int:
    """Return the smallest multiple that is not below a number."""
    return math.ceil(number / multiple) * multiple


def side(pixels: float, smallest: int, largest: int) -> int:
    """Return a side in pixels, a multiple of 32 within limits."""
    return min(largest, max(smallest, 32 * round(pixels / 32)))
