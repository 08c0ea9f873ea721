"""Write a whole model as an ONNX file, compare the file with the model, and measure what it costs."""

import copy
import warnings
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.inference import Predictor
from mmcnv2.inference.onnx_models import Description, OnnxModel, OnnxPreparation
from mmcnv2.models.sparse import PATCH_SIZE
from mmcnv2.utils.errors import InputError, MissingPackageError
from mmcnv2.utils.files import written_whole

from .checking import Differences, compare
from .describing import describe, takes_bgr
from .detectors import replace_soft_nms
from .evaluation import Validation, image_files
from .graphs import Graph, build_graph
from .operators import replace_layers
from .precision import to_float16, to_int8

#: LayerNormalization is an operator from 17 on; newer sets have nothing that a model needs.
OPSET = 17
PRECISIONS = ('fp32', 'fp16', 'int8')
_COMPARED = 4  # images
_EXAMPLE = (128, 160)  # height and width
_LARGEST = 2**31 - 2**26  # bytes; of protobuf, less what is not weights


@dataclass
class Report:
    """What an export did.

    Attributes:
        task: See ``Description``.
        operators: Those of ONNX in the file, sorted.
        differences: Between the file in float32 and the model.
        images_are_real: Whether these images are of the config's data; else they are toy scenes.
        scores: Metrics of the model and of the files by 'model', 'fp32' and the precision; empty: not measured.
        images: How many images of the validation set the metrics are of.
        all_images: How many it has.
        no_scores: Why nothing was measured.
        cost: Without metrics, between the file in fp16 or int8 and the model.
        has_soft_nms: Whether NMS stands for the Soft-NMS of the model.
        calibration: How many images the ranges of int8 are of.
        megabytes: Size of the file.
    """

    task: str
    operators: tuple[str, ...] = ()
    differences: Differences | None = None
    images_are_real: bool = True
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    images: int = 0
    all_images: int = 0
    no_scores: str = ''
    cost: Differences | None = None
    has_soft_nms: bool = False
    calibration: int = 0
    megabytes: float = 0.0


def export_model(
    predictor: Predictor,
    target: Path,
    precision: str = 'fp32',
    images: int | None = None,
    calibration_images: int = 32,
) -> Report:
    """Write a whole model as ONNX: whole and compared with the model, or not at all.

    Args:
        predictor: Of a config and a checkpoint, on the CPU.
        target: File to write.
        precision: 'fp32', 'fp16' (weights and maps of the network in float16) or 'int8' (convolutions and linear
            layers in 8 bits, by onnxruntime's static quantization).
        images: How many images of the validation set metrics are computed of; None: all, 0: none.
        calibration_images: How many training images the ranges of int8 are taken of.

    Raises:
        InputError: The model has parts without an export, its pipeline cannot be described, the file differs from the
            model, or there are no images for int8.
        MissingPackageError: A package for ONNX is not installed.
        OSError: The file cannot be written.
    """
    _check_packages()
    cfg = predictor.cfg
    if cfg is None:
        raise InputError(f'{predictor.model.path} is exported already: give a config and a checkpoint')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        reference, graph, description = prepare(predictor)
        report = Report(graph.task, has_soft_nms=bool(description.settings.get('soft_nms')))
        validation = Validation(cfg, images) if graph.task != 'features' and images != 0 else None
        report.no_scores = 'not asked for' if images == 0 else 'an encoder predicts nothing'
        if validation is not None:
            report.no_scores, report.images, report.all_images = validation.reason, validation.images, validation.all
        with written_whole(target) as temporary:
            write(graph, description, temporary)
            preparation = OnnxPreparation(description)
            compared, report.images_are_real = _compared_images(cfg, preparation)
            report.differences = compare(reference, graph, OnnxModel(str(temporary), 'cpu'), compared)
            if not report.differences.is_same:
                raise InputError(
                    f'{target} is not written: what was exported is not the model: {report.differences.text}'
                )
            if not report.no_scores and validation is not None:
                report.scores['model'] = validation.score_of_model(predictor.model)
                report.scores['fp32'] = validation.score_of_file(str(temporary))
            if precision == 'fp16':
                to_float16(temporary, temporary)
            elif precision == 'int8':
                some = _calibration_images(cfg, preparation, calibration_images)
                to_int8(temporary, temporary, some)
                report.calibration = len(some)
            if precision != 'fp32':
                _add_metadata(replace(description, precision=precision), temporary)
                if report.scores:
                    report.scores[precision] = validation.score_of_file(str(temporary))  # type: ignore[union-attr]
                else:
                    report.cost = compare(reference, graph, OnnxModel(str(temporary), 'cpu'), compared)
            report.operators, report.megabytes = _operators(temporary), temporary.stat().st_size / 1e6
    return report


def prepare(predictor: Predictor) -> tuple[Any, Graph, Description]:
    """Return the model that an export should equal, a copy of it as a graph, and what its file says.

    It is the model of the predictor, but for Soft-NMS, for which there is NMS.

    Raises:
        InputError: See ``export_model``.
    """
    reference = predictor.model
    has_soft_nms = False
    if hasattr(reference, 'with_rpn'):  # of mmdet
        reference = copy.deepcopy(reference)
        has_soft_nms = replace_soft_nms(reference)
    model = copy.deepcopy(reference)
    replace_layers(model)
    graph = build_graph(model)
    description = describe(predictor, model, graph.task, has_soft_nms)
    graph.module.swaps = takes_bgr(predictor, graph.task)
    graph.module.eval()
    return reference, graph, description


def write(graph: Graph, description: Description, path: Path) -> None:
    """Write a graph for images of any size divisible by 32; detectors take one, others any number.

    By the exporter that records what is computed for an example. That of torch.export wrote an adaptive pooling that
    fails at other sizes, and took a minute where this takes seconds (torch 2.13, UperNet atto).

    Raises:
        InputError: The file would be larger than ONNX allows.
    """
    size = sum(p.numel() * p.element_size() for p in graph.module.parameters())
    if size > _LARGEST:
        raise InputError(f'the weights take {size / 1e9:.1f} GB, and one ONNX file holds less than 2 GB')
    batch = 1 if graph.task == 'detection' else 2
    example = 255 * torch.rand(batch, description.channels, *_EXAMPLE, generator=torch.Generator().manual_seed(0))
    sizes = {'images': {2: 'height', 3: 'width'} | ({} if graph.task == 'detection' else {0: 'n'}), **graph.outputs}
    with warnings.catch_warnings(), torch.no_grad():
        # Of checks of shapes, which are recorded as passed, and of the other exporter.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph.module,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=['images'],
            output_names=list(graph.outputs),
            dynamic_axes=sizes,
        )
    _add_metadata(description, path)


def _add_metadata(description: Description, path: Path) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, description.metadata())
    onnx.save(model, path)


def _operators(path: Path) -> tuple[str, ...]:
    import onnx

    return tuple(sorted({node.op_type for node in onnx.load(path, load_external_data=False).graph.node}))


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f'ONNX needs packages: pip install onnx onnxscript onnxruntime ({error})') from error


def _compared_images(cfg: Config, preparation: OnnxPreparation) -> tuple[list[np.ndarray], bool]:
    """Return some images and parts of them, which have another size, and whether they are of the config's data."""
    files = next(filter(None, (list(islice(image_files(cfg, split), _COMPARED)) for split in ('val', 'train'))), [])
    channels = preparation.description.channels
    pixels = [preparation.read(file) for file in files] or [
        preparation.from_array(_toy_scene(channels, seed)) for seed in range(_COMPARED)
    ]
    images = []
    for one in pixels:
        image = preparation(one, None)['inputs']
        height, width = (max(side // PATCH_SIZE, 1) * PATCH_SIZE for side in image.shape[1:])
        images.append(np.ascontiguousarray(image[:, :height, :width]))
        half = max(height // 2 // PATCH_SIZE, 2) * PATCH_SIZE
        images.append(np.ascontiguousarray(image[:, :half, :width]))
    return images, bool(files)


def _toy_scene(channels: int, seed: int) -> np.ndarray:
    """Return an image where the data of the config are not there, (H, W, C) uint8."""
    if channels == 3:
        from mmcnv2.toy_scenes import render_scene

        return render_scene(seed).image
    return np.random.default_rng(seed).integers(0, 256, (128, 128, channels), dtype=np.uint8)


def _calibration_images(cfg: Config, preparation: OnnxPreparation, count: int) -> list[np.ndarray]:
    """Return training images, spread evenly, as the model takes them."""
    files = list(image_files(cfg, 'train'))
    if not files:
        raise InputError('int8 needs images of train_dataloader for the ranges of values; they cannot be read')
    some = [files[i * len(files) // min(count, len(files))] for i in range(min(count, len(files)))]
    return [preparation(preparation.read(file), file)['inputs'] for file in some]
