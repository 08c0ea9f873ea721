"""Judge checkpoints by one linear layer on their features.

The backbone stays as it is. A linear layer for each learning rate of a grid is trained on its standardised features
(SGD, momentum 0.9, cosine), all in one pass. The best one on a fifth of the training images, held out, is trained
again on all of them and tested. Features are the averages over the map of the last stage. A row of the same network
with random weights says what the architecture alone does. Intervals are bootstrap over the test images.
"""

import argparse

EXAMPLES = (
    'a.pth b.pth --train data/train --val data/val --json linear.json --picture linear.png',
    'a.pth --coco annotations.json --images data/images --labels-per-class 10 --seeds 0 1 2',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .judging import add_judging_arguments

    add_judging_arguments(parser)
    parser.add_argument(
        '--learning-rates',
        nargs='+',
        type=float,
        default=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        help='the grid, for a batch of 256 (default: %(default)s)',
    )
    parser.add_argument('--epochs', type=int, default=100, help='passes over the features (default: 100)')


def run(args: argparse.Namespace) -> None:
    from mmcnv2.evaluation.linear import train_probe

    from .arguments import check_positive
    from .judging import Prediction, Split, judge

    check_positive(args, 'learning_rates', 'epochs')
    args.learning_rates = sorted(set(args.learning_rates))

    def predict(split: Split) -> list[Prediction]:
        probe = train_probe(
            split.train,
            split.labels,
            split.groups,
            split.num_classes,
            args.learning_rates,
            args.epochs,
            seed=split.seed,
        )
        guesses = probe(split.val).topk(split.num_guesses).indices
        facts = {
            'learning_rate': probe.learning_rate,
            'held_out_top1': {str(rate): 100 * accuracy for rate, accuracy in probe.held_out.items()},
        }
        return [Prediction(guesses, {}, facts)]

    judge('linear', args, predict)
