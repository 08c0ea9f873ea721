"""What ``knn`` and ``linear`` share: their arguments, features of every network, and the report."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcnv2.utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from mmcnv2.evaluation.features import Sample
    from mmcnv2.evaluation.labelled_samples import LabelledSamples

#: Top-5 accuracy is reported where there are more classes than these guesses.
NUM_GUESSES = 5


@dataclass(frozen=True)
class Split:
    """Features and labels that a judge may learn from, and the features that it predicts labels of.

    Attributes:
        train: (n, D) float32.
        labels: (n,) int64.
        groups: (n,) the image of each sample.
        val: (m, D) float32.
        num_classes: Labels are below it.
        seed: Of all that the judge draws at random.
    """

    train: Tensor
    labels: Tensor
    groups: np.ndarray
    val: Tensor
    num_classes: int
    seed: int

    @property
    def num_guesses(self) -> int:
        """How many classes the judge names for each sample, the likeliest first."""
        return NUM_GUESSES if self.num_classes > NUM_GUESSES else 1


@dataclass(frozen=True)
class Prediction:
    """What a judge predicts.

    Attributes:
        guesses: (m, ``Split.num_guesses``) int64, the likeliest class first.
        setting: What tells its row from others of the same network, e.g. k.
        facts: Anything else for the JSON file, of this seed.
    """

    guesses: Tensor
    setting: Mapping[str, Any]
    facts: Mapping[str, Any]


def add_judging_arguments(parser: argparse.ArgumentParser) -> None:
    """Add checkpoints, data, and where the results go."""
    from .arguments import add_feature_arguments

    parser.add_argument(
        'checkpoints',
        nargs='+',
        metavar='CHECKPOINT',
        help='path, URL, hf://owner/name or timm://NAME, in any format of docs/how_to/weights.md',
    )
    data = parser.add_argument_group('data: class folders, list files, or the objects of COCO files')
    data.add_argument('--train', metavar='DIR', help='class folders to learn from: DIR/CLASS/IMAGE')
    data.add_argument('--val', metavar='DIR', help='class folders to test on')
    data.add_argument(
        '--train-list', metavar='FILE', help='lines "PATH LABEL"; paths start at --train, else where the list is'
    )
    data.add_argument('--val-list', metavar='FILE', help='the same for testing; paths start at --val')
    data.add_argument('--coco', metavar='FILE', help='annotation file in the format of COCO: its objects as crops')
    data.add_argument('--images', metavar='DIR', help='folder of its images')
    data.add_argument('--val-coco', metavar='FILE', help='annotations to test on (default: a part of the images)')
    data.add_argument('--val-images', metavar='DIR', help='folder of their images (default: --images)')
    data.add_argument('--val-share', type=float, default=0.3, help='that part, if no --val-coco (default: 0.3)')
    data.add_argument('--min-box', type=float, default=16, help='shortest side of a box, in pixels (default: 16)')
    data.add_argument(
        '--labels-per-class', type=int, metavar='N', help='learn from N samples a class, drawn at random'
    )
    data.add_argument('--seeds', nargs='+', type=int, default=[0], help='of what is drawn; one run each (default: 0)')
    network = parser.add_argument_group('features')
    network.add_argument(
        '--stages', nargs='+', type=int, default=[3], help='0 to 3: averaged and concatenated (default: 3, the last)'
    )
    add_feature_arguments(network)
    results = parser.add_argument_group('results')
    results.add_argument('--json', metavar='FILE', help='rows, settings, versions and digests')
    results.add_argument('--markdown', metavar='FILE', help='the table')
    results.add_argument('--picture', metavar='FILE', help='the table as bars with their intervals, e.g. a .png')


def judge(command: str, args: argparse.Namespace, predict: Callable[[Split], Sequence[Prediction]]) -> None:
    """Compute the features of every network, predict from them, print the table and write the files.

    Args:
        command: Name for the files.
        args: With what ``add_judging_arguments`` has added.
        predict: The judge. It returns as many predictions for every network and seed, with the same settings.

    Raises:
        InputError: Names an argument, a file or a class.
    """
    import torch

    from mmcnv2.evaluation.features import gather_features

    from .arguments import feature_backbone, network_name, with_random_weights

    _check(args)
    data = _read_data(args)
    for note in data.notes:
        print(note)
    networks = with_random_weights(
        {name: feature_backbone(name, args.stages, args.allow_pickle) for name in args.checkpoints}
    )
    for backbone in networks.values():
        backbone.to(args.device)
    num_train = len(data.train)
    samples = [*data.train, *data.val]
    print(f'{num_train} samples to learn from, {len(data.val)} to test on, {len(data.classes)} classes', flush=True)
    kept, features = gather_features(networks, samples, args.image_size, args.batch_size, args.workers)
    is_train = kept < num_train
    read = [samples[i] for i in kept.tolist()]
    train, val = read[: int(is_train.sum())], read[int(is_train.sum()) :]
    if not train or not val:
        raise InputError(f'{len(train)} images to learn from and {len(val)} to test on can be read; both are needed')
    labels = torch.tensor([sample.label for sample in val])
    commonest = torch.tensor([sample.label for sample in train]).bincount().argmax()
    share = 100 * float((labels == commonest).float().mean())
    print(
        f'always answering {data.classes[commonest]!r}, the commonest class, would be right for {share:.1f} %, '
        f'for {100 / len(labels.unique()):.1f} % in the mean of the classes'
    )
    rows = []
    for name, values in features.items():
        runs = [
            predict(_split(train, values[is_train], values[~is_train], len(data.classes), args.labels_per_class, seed))
            for seed in args.seeds
        ]
        network = networks[name]
        about = dict(
            weights=name,
            sha256=_digest(name),
            arch=network_name(network),
            normalization=network.normalization._asdict(),
        )
        for predictions in zip(*runs, strict=True):
            rows.append(about | _row(predictions, labels, [sample.path for sample in val], args.seeds))
    _report(command, args, data, rows, dict(train=len(train), val=len(val), commonest_class_top1=share))


def _check(args: argparse.Namespace) -> None:
    from .arguments import check_feature_arguments, check_positive
    from .benchmark_arguments import check_image_sizes

    check_image_sizes(args, 'image_size')
    check_feature_arguments(args)
    check_positive(args, 'min_box')
    if args.labels_per_class is not None:
        check_positive(args, 'labels_per_class')
    if wrong := [stage for stage in args.stages if stage not in range(4)]:
        raise InputError(f'--stages must be among 0, 1, 2, 3, got {wrong[0]}')
    if not 0 < args.val_share < 1:
        raise InputError(f'--val-share must be above 0 and below 1, got {args.val_share}')
    for name in ('json', 'markdown', 'picture'):
        path = getattr(args, name)
        if path and Path(path).is_dir():
            raise InputError(f'--{name} must be a file, and {path} is a folder')
    if args.picture:
        from matplotlib.figure import Figure

        endings = Figure().canvas.get_supported_filetypes()
        if Path(args.picture).suffix.removeprefix('.').lower() not in endings:
            raise InputError(f'--picture must end in one of {", ".join(sorted(endings))}, got {args.picture}')


def _read_data(args: argparse.Namespace) -> LabelledSamples:
    from mmcnv2.evaluation.labelled_samples import read_class_folders, read_coco, read_lists

    if args.coco and args.images and not (args.train or args.val or args.train_list or args.val_list):
        return read_coco(args.coco, args.images, args.val_coco, args.val_images, args.val_share, args.min_box, seed=0)
    if not any((args.coco, args.images, args.val_coco, args.val_images)):
        if args.train_list and args.val_list:
            return read_lists(args.train_list, args.val_list, args.train or '', args.val or '')
        if args.train and args.val and not (args.train_list or args.val_list):
            return read_class_folders(args.train, args.val)
    raise InputError(
        'the data are --train DIR --val DIR (class folders), or --train-list FILE --val-list FILE, or --coco FILE '
        '--images DIR: give both arguments of one of these'
    )


def _split(
    samples: Sequence[Sample], train: Tensor, val: Tensor, num_classes: int, per_class: int | None, seed: int
) -> Split:
    import numpy as np
    import torch

    from mmcnv2.evaluation.labelled_samples import choose_labels

    chosen = range(len(samples)) if per_class is None else choose_labels(samples, per_class, seed).tolist()
    labels = torch.tensor([samples[i].label for i in chosen])
    groups = np.array([samples[i].path for i in chosen])
    return Split(train[list(chosen)], labels, groups, val, num_classes, seed)


def _row(predictions: Sequence[Prediction], labels: Tensor, paths: list[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Return accuracies in percent: means over the seeds, their deviation, and the interval of the mean."""
    import numpy as np

    from mmcnv2.evaluation.accuracy import bootstrap_interval, mean_class_accuracy

    row: dict[str, Any] = dict(predictions[0].setting)
    for top in sorted({1, predictions[0].guesses.shape[1]}):
        hits = [(one.guesses[:, :top] == labels[:, None]).any(1).float().numpy() for one in predictions]
        accuracies = [100 * float(one.mean()) for one in hits]
        low, high = bootstrap_interval(np.mean(hits, axis=0), np.array(paths))
        row |= {
            f'top{top}': sum(accuracies) / len(seeds),
            f'top{top}_interval': [100 * low, 100 * high],
            f'top{top}_std': _deviation(accuracies),
        }
        row.setdefault('runs', [dict(seed=seed, **one.facts) for seed, one in zip(seeds, predictions, strict=True)])
        for run, accuracy in zip(row['runs'], accuracies, strict=True):
            run[f'top{top}'] = accuracy
        if top == 1:
            by_class = [100 * mean_class_accuracy(one, labels.numpy()) for one in hits]
            row |= dict(class_mean=sum(by_class) / len(seeds), class_mean_std=_deviation(by_class))
    return row


def _deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation between seeds, if there are several."""
    return statistics.stdev(values) if len(values) > 1 else None


def _report(
    command: str, args: argparse.Namespace, data: LabelledSamples, rows: list[dict[str, Any]], counts: dict[str, Any]
) -> None:
    from mmcnv2.benchmarks.measure import environment
    from mmcnv2.utils.files import written_whole
    from mmcnv2.version import __version__

    table = markdown_table(rows)
    print(f'\n{table}')
    if args.json:
        about = dict(
            command=command,
            settings={key: value for key, value in vars(args).items() if key not in ('json', 'markdown', 'picture')},
            versions=dict(mmcnv2=__version__, **environment(args.device)),
            data=dict(**counts, classes=data.classes, notes=list(data.notes)),
        )
        with written_whole(args.json) as path:
            path.write_text(json.dumps(about | dict(rows=rows), indent=2) + '\n')
    if args.markdown:
        with written_whole(args.markdown) as path:
            path.write_text(table + '\n')
    if args.picture:
        from mmcnv2.visualization.accuracies import draw_accuracies

        with written_whole(args.picture) as path:
            draw_accuracies(rows, str(path), f'mmcnv2 {command}: {counts["val"]} samples, {len(data.classes)} classes')


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as ``judge`` makes them as a table, in percent."""
    tops = [key for key in ('top1', f'top{NUM_GUESSES}') if key in rows[0]]
    has_rates = 'learning_rate' in rows[0]['runs'][0]
    header = ['weights', *(['k'] if 'k' in rows[0] else []), *(['learning rate'] if has_rates else [])]
    for top in tops:
        header += [f'top-{top[3:]} (%)', '95 % interval']
    header.append('mean of classes (%)')
    lines = [f'| {" | ".join(header)} |', f'|{" --- |" * len(header)}']
    for row in rows:
        cells = [row['weights'], *([str(row['k'])] if 'k' in row else [])]
        if has_rates:
            cells.append(', '.join(f'{rate:g}' for rate in sorted({run['learning_rate'] for run in row['runs']})))
        for top in tops:
            low, high = row[f'{top}_interval']
            cells += [_with_spread(row, top), f'{math.floor(10 * low) / 10:.1f} to {math.ceil(10 * high) / 10:.1f}']
        cells.append(_with_spread(row, 'class_mean'))
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _with_spread(row: Mapping[str, Any], key: str) -> str:
    deviation = row[f'{key}_std']
    return f'{row[key]:.1f}' if deviation is None else f'{row[key]:.1f} ± {deviation:.1f}'


def _digest(name: str) -> str | None:
    """Return the SHA-256 of a file; None of what is no file here: URLs, names of timm, random weights."""
    path = Path(name).expanduser()
    if not path.is_file():
        return None
    with path.open('rb') as file:
        digest = hashlib.sha256()
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()
