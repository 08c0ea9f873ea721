"""Export a backbone to ONNX or to a torch.export program, for batches and images of any size."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmcnv2.utils.errors import InputError, MissingPackageError
from mmcnv2.utils.files import written_whole

from ..backbones import ConvNeXtBase
from ..sparse import PATCH_SIZE

TOLERANCE = 1e-4
TRACED = (2, 64, 96)  # N, H, W
#: Sizes at which the exported file is compared, (N, H, W).
SIZES = [TRACED, (1, 160, 128), (3, 64, 256)]


@torch.no_grad()
def export_backbone(backbone: ConvNeXtBase, target: Path) -> float:
    """Export a backbone and compare the written file with it.

    Args:
        backbone: In evaluation mode.
        target: File to write: ``.onnx`` or ``.pt2``; whole and compared, or not at all.

    Returns:
        The largest difference between the maps of the two, as norm over norm.

    Raises:
        InputError: If ``target`` has another ending, or the maps differ by more than 1e-4.
        ImportError: If a package for ONNX is not installed.
        OSError: If the file cannot be written.
    """
    if target.suffix not in ('.onnx', '.pt2'):
        raise InputError(f'the target must end in .onnx or .pt2, got {target}')
    with written_whole(target) as temporary:
        error = _difference(backbone, _export(backbone, temporary))
        if not error <= TOLERANCE:
            raise InputError(f'{target} is not written: what was exported differs from the backbone by {error:.1e}')
    return error


def _images(in_channels: int, size: tuple[int, int, int]) -> Tensor:
    """Return random images (N, C, H, W)."""
    n, height, width = size
    return torch.randn(n, in_channels, height, width, generator=torch.Generator().manual_seed(0))


def _export(backbone: ConvNeXtBase, path: Path) -> Callable[[Tensor], Sequence[Tensor]]:
    """Write ``path`` and return a function that runs what was written."""
    batch = torch.export.Dim('batch')
    # At least two patches: with one, strides carry no information, and torch.export specialises on that size.
    height, width = (torch.export.Dim(name, min=2) for name in ('patch_rows', 'patch_columns'))
    sizes = ({0: batch, 2: PATCH_SIZE * height, 3: PATCH_SIZE * width},)
    example = (_images(backbone.in_channels, TRACED),)
    if path.suffix == '.pt2':
        torch.export.save(torch.export.export(backbone, example, dynamic_shapes=sizes), path)
        return torch.export.load(path).module()
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f'ONNX needs packages: pip install onnx onnxscript onnxruntime ({error})') from error
    names = [f'stage{i}' for i in backbone.out_indices]
    torch.onnx.export(
        backbone,
        example,
        path,
        dynamo=True,
        dynamic_shapes=sizes,
        input_names=['images'],
        output_names=names,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda x: [torch.from_numpy(out) for out in session.run(None, {'images': x.numpy()})]


def _difference(backbone: ConvNeXtBase, exported: Callable[[Tensor], Sequence[Tensor]]) -> float:
    """Return the norm of the difference over the norm of a map, the largest over maps and sizes."""
    values = []
    for size in SIZES:
        x = _images(backbone.in_channels, size)
        values += [
            (actual - expected).norm().item() / expected.norm().item()
            for actual, expected in zip(exported(x), backbone(x), strict=True)
        ]
    return max(values)
