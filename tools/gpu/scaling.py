"""Measure what `mmcnv2 scaling-model` assumes: the share of the peak that a step reaches, and what each costs besides.

Steps of several batch sizes lie on a line: its slope is the time of an image, its height at 0 the overhead.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from mmcnv2.benchmarks import pretrain
from mmcnv2.benchmarks.measure import Table, environment
from mmcnv2.benchmarks.scaling import Cluster
from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--arch', default='base', choices=[*ARCHITECTURES])
    parser.add_argument('--batch-sizes', nargs='+', type=int, default=[8, 16, 32, 64])
    parser.add_argument('--image-size', type=int, default=224)
    parser.add_argument('--repeats', type=int, default=11)
    parser.add_argument('--tflops', type=float, default=Cluster.tflops, help='peak (default: of an H100 SXM in bf16)')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    dtype = 'fp32' if args.device == 'cpu' else 'bf16'
    workload = pretrain.Workload('whole', args.image_size, 0.6, args.device, dtype)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'rows.json'
        sizes = [(args.arch, size) for size in args.batch_sizes]
        pretrain.benchmark(sizes, ['auto'], [workload], args.repeats, 2, str(file))
        rows = [row for row in json.loads(file.read_text())['rows'] if row['backend'] == 'auto']
    batch_sizes = np.array([row['batch'] for row in rows])
    seconds = batch_sizes / np.array([row['images/s'] for row in rows])
    an_image, overhead = np.polyfit(batch_sizes, seconds, 1)
    _, batch = pretrain.make_batch(args.arch, 1, pretrain.Workload('whole', args.image_size, 0.6, 'cpu', 'fp32'))
    macs = pretrain._macs('auto', args.arch, batch, workload)  # of forward and backward
    row = {
        'arch': args.arch,
        'batches': ' '.join(map(str, batch_sizes)),
        'milliseconds': ' '.join(f'{1e3 * value:.3g}' for value in seconds),
        '--utilisation': 2 * macs / an_image / (args.tflops * 1e12),
        '--overhead-ms': 1e3 * overhead,
    }
    Table([*row], args.json, environment=environment(args.device), peak=f'{args.tflops:g} TFLOPS').add(**row)


if __name__ == '__main__':
    main()
