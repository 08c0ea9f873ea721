"""Say what the machine has, and whether all that the measurements need can be imported."""

import argparse
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys

import torch

from mmcnv2.benchmarks.measure import Table, environment

# import name: distribution, and whether most parts need it
PACKAGES = {
    'mmengine': ('onedl-mmengine', True),
    'mmcv': ('onedl-mmcv', True),
    'mmdet': ('onedl-mmdetection', False),  # both need mmcv's operators, which may not be built yet
    'mmseg': ('onedl-mmsegmentation', False),
    'mmpretrain': ('onedl-mmpretrain', True),
    'mmcnv2': (None, True),
    'yapf.yapflib.yapf_api': ('yapf', True),  # writes configs
    'numpy': ('numpy', True),
    'cv2': ('opencv-python-headless', True),
    'skimage': ('scikit-image', True),
    'matplotlib': ('matplotlib', True),
    'supervision': ('supervision', True),
    'timm': ('timm', True),
    'triton': ('triton', True),
    'torchvision': ('torchvision', True),
    'spconv': (None, False),
    'pytest': ('pytest', True),
    'hypothesis': ('hypothesis', True),
}
TOOLS = ('nvidia-smi', 'nvcc', 'ncu', 'compute-sanitizer')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    about = dict(
        environment(args.device), cores=os.cpu_count(), cuda=torch.version.cuda, GPU=torch.cuda.is_available()
    )
    about |= {tool: shutil.which(tool) or 'not there' for tool in TOOLS}
    if torch.cuda.is_available():
        query = ['nvidia-smi', '--query-gpu=name,driver_version,memory.total,clocks.max.sm', '--format=csv,noheader']
        about['nvidia-smi'] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    table = Table(['package', 'version', 'problem'], args.json, **about)
    missing = []
    for name, (distribution, is_needed) in PACKAGES.items():
        problem = ''
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a package fails with
            problem = f'{type(error).__name__}: {error}'.splitlines()[0]
            missing += [name] * is_needed
        version = ''
        if distribution:
            try:
                version = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                version = 'not installed'
        table.add(package=name, version=version, problem=problem)
    if args.device == 'cuda' and not torch.cuda.is_available():
        missing.append('a GPU that torch sees')
    if missing:
        sys.exit(f'missing: {", ".join(missing)}')


if __name__ == '__main__':
    main()
