"""Judge checkpoints by the nearest neighbours among their features.

Nothing is trained: the class of an image is voted for by the k images to learn from whose features are the most alike
(cosine similarity s, votes exp(s / 0.07), as in DINO). Features are the averages over the map of the last stage. A row
of the same network with random weights says what the architecture alone does. Intervals are bootstrap over the test
images; several --seeds draw several sets of --labels-per-class labels.
"""

import argparse

EXAMPLES = (
    'a.pth b.pth --train data/train --val data/val --json knn.json --picture knn.png',
    'a.pth --coco annotations.json --images data/images --labels-per-class 10 --seeds 0 1 2',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .judging import add_judging_arguments

    add_judging_arguments(parser)
    parser.add_argument(
        '--k', nargs='+', type=int, default=[10, 20, 100, 200], help='neighbours (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> None:
    from mmcnv2.evaluation.knn import TEMPERATURE, knn_predict

    from .arguments import check_positive
    from .judging import Prediction, Split, judge

    check_positive(args, 'k')
    args.temperature = TEMPERATURE  # for the report
    if args.labels_per_class is None and len(args.seeds) > 1:
        print('without --labels-per-class kNN draws nothing at random: one seed is computed')
        args.seeds = args.seeds[:1]
    clipped: set[int] = set()

    def predict(split: Split) -> list[Prediction]:
        n = len(split.train)
        if too_many := {k for k in args.k if k > n} - clipped:
            clipped.update(too_many)
            print(f'k {", ".join(map(str, sorted(too_many)))}: there are {n} samples to learn from, all of them vote')
        ks = sorted({min(k, n) for k in args.k})
        guesses = knn_predict(split.train, split.labels, split.val, ks, num_guesses=split.num_guesses)
        return [Prediction(guesses[k], dict(k=k), {}) for k in ks]

    judge('knn', args, predict)
