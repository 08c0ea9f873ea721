"""Build mmcv's operators from the source that pack.sh packed, and compare RoIAlign and NMS with their CPU versions.

The wheel goes into the folder of the report and into that of the other packages, in place of mmcv without operators:
later parts have it. Put into the folder of wheels, it is what report.sh installs on the next machine. With --device
cpu nothing is built: where mmcv has operators, they are compared with arithmetic by hand alone.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from mmcnv2.benchmarks.measure import Table, environment

ROOT = Path(__file__).resolve().parents[2]


def has_operators() -> bool:
    """Return whether mmcv's compiled module is there."""
    return importlib.util.find_spec('mmcv._ext') is not None


def build(site: Path, out: Path | None) -> float:
    """Build a wheel, install it to ``site``, copy it to ``out``, and return the seconds that it took.

    Raises:
        SystemExit: If there is no source, or pip fails.
    """
    sources = sorted(Path(os.environ.get('WHEELS', ROOT / 'build/gpu')).glob('onedl*mmcv-*.tar.gz'))
    if not sources:
        sys.exit('no source of mmcv beside the wheels: run tools/gpu/pack.sh, or set WHEELS to its folder')
    start = time.monotonic()
    major, minor = torch.cuda.get_device_capability()
    settings = dict(
        MMCV_WITH_OPS='1', FORCE_CUDA='1', MAX_JOBS=str(os.cpu_count()), TORCH_CUDA_ARCH_LIST=f'{major}.{minor}'
    )
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    with tempfile.TemporaryDirectory() as folder:
        options = ['--no-deps', '--no-build-isolation', '--no-index', '-w', folder]
        subprocess.run([*pip, 'wheel', *options, str(sources[-1])], env={**os.environ, **settings}, check=True)
        (wheel,) = Path(folder).glob('*.whl')
        subprocess.run(
            [*pip, 'install', '--no-deps', '--no-index', '--upgrade', '--target', str(site), str(wheel)], check=True
        )
        if out:
            shutil.copy(wheel, out)
    return time.monotonic() - start


def compare(device: str) -> list[dict]:
    """Return a row for each operator: largest difference from the CPU's result, or from that by hand on a CPU."""
    from mmcv.ops import nms, roi_align

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 32, 32, generator=generator)
    rois = torch.cat(
        [torch.randint(2, (50, 1), generator=generator), 16 * torch.rand(50, 2, generator=generator)], dim=1
    )
    rois = torch.cat([rois, rois[:, 1:] + 1 + 14 * torch.rand(50, 2, generator=generator)], dim=1)
    boxes, scores = rois[:, 1:], torch.rand(50, generator=generator)
    rows = []
    # A box of a ramp: the mean of a bin is the ramp at its centre.
    ramp = torch.arange(32.0).expand(1, 1, 32, 32).contiguous().to(device)
    found = roi_align(ramp, torch.tensor([[0.0, 4.0, 4.0, 12.0, 12.0]], device=device), 4, 1.0, 2, 'avg', True)
    by_hand = torch.tensor([4.5, 6.5, 8.5, 10.5]).expand(1, 1, 4, 4)
    rows.append(dict(operator='RoIAlign of a ramp', difference=(found.cpu() - by_hand).abs().max().item()))
    two = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 20, 30, 30]], device=device)
    kept = nms(two, torch.tensor([0.5, 0.9, 0.1], device=device), 0.5)[1].tolist()
    rows.append(dict(operator='NMS of three boxes', difference=float(kept != [1, 2])))
    if device != 'cpu':
        for dtype in (torch.float32, torch.float16):
            results = []
            for where in ('cpu', device):
                leaf = x.to(where, dtype if where != 'cpu' else torch.float32).detach().requires_grad_()
                out = roi_align(leaf, rois.to(where, leaf.dtype), 7, 1.0, 0, 'avg', True)
                out.float().square().sum().backward()
                results.append((out.detach().float().cpu(), leaf.grad.float().cpu()))
            for what, expected, actual in zip(('output', 'gradient'), *results, strict=True):
                difference = ((actual - expected).norm() / expected.norm()).item()
                rows.append(dict(operator=f'RoIAlign {dtype} {what}', difference=difference))
        both = [nms(boxes.to(where), scores.to(where), 0.5)[1].tolist() for where in ('cpu', device)]
        rows.append(dict(operator='NMS', difference=float(both[0] != both[1])))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--site', type=Path, default=ROOT / 'work_dirs/gpu/site', help='where report.sh installs')
    parser.add_argument('--out', type=Path, help='folder for the wheel')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    about = {}
    if args.device != 'cpu' and not has_operators():
        about = dict(build_seconds=round(build(args.site, args.out)))
        importlib.invalidate_caches()
    if not has_operators():
        print('mmcv has no operators here, and they are built on a GPU only: nothing is compared')
        return
    table = Table(['operator', 'difference', 'passed'], args.json, environment=environment(args.device), **about)
    passed = []
    for row in compare(args.device):
        # Half precision rounds positions within a box, too.
        passed.append(row['difference'] <= (2e-2 if 'float16' in row['operator'] else 1e-4))
        table.add(**row, passed=passed[-1])
    sys.exit(0 if all(passed) else 'operators differ')


if __name__ == '__main__':
    main()
