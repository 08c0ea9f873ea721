"""Write a config of the user's own for some data, and what lies beside it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmcnv2.models.normalization import IMAGENET, Normalization
from mmcnv2.utils.errors import ExistingFileError, InputError
from mmcnv2.utils.files import written_whole
from mmcnv2.visualization.own_data import draw_overview

from .class_folders import look_at_classes
from .coco import Detection, as_json, look_at_coco
from .images import grey_statistics, look_at_headers
from .label_maps import look_at_label_maps
from .network import Network, choose_network
from .plan import KINDS, TAKEN, Options, Plan
from .schedule import Schedule, finetuning, pretraining, side
from .unlabelled import look_at_images
from .voc import look_at_voc
from .yolo import look_at_yolo

_RECIPES = dict(
    masks='mask-rcnn_convnextv2-atto_own-coco',
    boxes='faster-rcnn_convnextv2-atto_own-coco',
    label_maps='upernet_convnextv2-atto_own-label-maps',
    classes='convnextv2-atto_own-class-folders',
    images='fcmae_convnextv2-atto_own-images',
)
_DETECTION = dict(coco=look_at_coco, voc=look_at_voc, yolo=look_at_yolo)
#: The longest side of a segmenter's whole image; larger ones are tested in windows.
_LARGEST_WHOLE = 1024


def plan_config(kind: str, path: str, options: Options) -> Plan:
    """Look at data and plan a config for them.

    Args:
        kind: One of ``KINDS``.
        path: Folder of the data; of COCO's format also the annotation file, of YOLO's ``data.yaml``.
        options: What is not to be guessed.

    Raises:
        InputError: If the data cannot be used; says what was found, and what to do.
    """
    if options.image_size is not None and (options.image_size <= 0 or options.image_size % 32):
        raise InputError(f'--image-size must be divisible by 32, got {options.image_size}')
    if kind not in KINDS:
        raise InputError(f'the kind of data must be one of {", ".join(KINDS)}, got {kind!r}')
    for name in ('train', 'val', 'images', 'labels', 'classes'):
        if getattr(options, name) and name not in TAKEN[kind]:
            taken = ', '.join(f'--{taken}' for taken in TAKEN[kind])
            raise InputError(f'--{name} is not for {kind} data, {f"which take {taken}" if taken else "all is found"}')
    network = choose_network(options.checkpoint, options.arch)
    if kind == 'label_maps':
        return _label_maps(path, options, network)
    if kind == 'classes':
        return _classes(path, options, network)
    if kind == 'images':
        return _images(path, options, network)
    return _detection(kind, _DETECTION[kind](path, options), options, network)


def write_plan(plan: Plan, options: Options, force: bool = False) -> list[Path]:
    """Write the config, the files that it reads, and a picture of the data.

    Returns:
        The paths, the config first.

    Raises:
        ExistingFileError: If one exists already and ``force`` is not given.
    """
    picture = options.out.with_suffix('.png')
    paths = [options.out, picture, *plan.files]
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise ExistingFileError(f'{existing[0]} exists already: give another --out, or --force to replace it')
    for path, text in [*plan.files.items(), (options.out, plan.config)]:
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding='utf-8', errors='surrogateescape')
    draw_overview(picture, plan.samples, plan.counts, plan.counted, plan.sizes)
    return [Path(os.path.relpath(path)) for path in paths]


# ---- detection ----


def _detection(kind: str, data: Detection, options: Options, network: Network) -> Plan:
    schedule = finetuning(len(data.train.content['images']), 4, 7e-4, 2, network)
    sizes = look_at_headers([str(data.train.folder / image['file_name']) for image in data.train.content['images']])
    image_size, why = options.image_size, 'as --image-size says'
    if image_size is None:
        longer, median = max(sizes.width, sizes.height), data.median_object()
        # Objects of 16 pixels are the smallest squares that the anchors have.
        enlarged = longer * max(1, min(2, 16 / median))
        image_size = side(enlarged, 128, 800)
        why = f'the median image is {sizes.width}x{sizes.height}, half of the objects have {median:.0f} pixels or less'
    files = {}
    for name, part in (('train', data.train), ('val', data.val)):
        if part.changed:
            part.path = options.beside(f'{name}.json')
            files[part.path] = as_json(part)
    prefixes = [os.path.relpath(part.folder, data.root) for part in (data.train, data.val)]
    statistics = _statistics(
        [str(data.train.folder / image['file_name']) for image in data.train.content['images']], network
    )
    masks = data.has_masks
    head = 'bbox_head=dict(num_classes=num_classes)' + (', mask_head=dict(num_classes=num_classes)' if masks else '')
    config = f"""{_title('Mask R-CNN' if masks else 'Faster R-CNN', kind, data.root, options)}
_base_ = {_base('masks' if masks else 'boxes')}

# ---- change these first ----
data_root = {data.root.as_posix()!r}
classes = {_names(data.classes)}  # in the order of the file
{_files(data, data.was_divided)}
# {_capital(why)}. Larger finds smaller objects, and is slower.
image_size = {image_size}
{_checkpoint(network)}

{_schedule(schedule)}

# ---- what follows from these ----
num_classes = len(classes)
model = dict({_preprocessor(statistics)}
    backbone={_backbone(network)},
    neck=dict(in_channels={list(network.channels)}),
    roi_head=dict({head}),
)
train_pipeline, val_pipeline = _base_.train_dataloader.dataset.pipeline, _base_.val_dataloader.dataset.pipeline
train_pipeline[2].update(scale=(image_size, image_size))
train_pipeline[3].update(crop_size=(image_size, image_size))
val_pipeline[1].update(scale=(image_size, image_size))
dataset = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(**dataset, ann_file=train_file, data_prefix=dict(img={prefixes[0]!r}), pipeline=train_pipeline),
)
val_dataloader = dict(
    dataset=dict(**dataset, ann_file=val_file, data_prefix=dict(img={prefixes[1]!r}), pipeline=val_pipeline)
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=val_file)
test_evaluator = val_evaluator
{_FOLLOWS}"""
    return Plan(config, data.seen, files, data.samples(), data.counts(), 'objects to train on', sizes.sizes)


def _files(data: Detection, was_divided: bool) -> str:
    train, val = data.train.path.as_posix(), data.val.path.as_posix()
    said = ''
    if was_divided:
        said = (
            '# Every fifth image is held out. If neighbours show the same thing (frames of a video, tiles of one '
            'slide),\n# divide them yourself, or the validation flatters.\n'
        )
    return f'{said}train_file = {train!r}\nval_file = {val!r}'


# ---- label maps ----


def _label_maps(path: str, options: Options, network: Network) -> Plan:
    data = look_at_label_maps(path, options)
    schedule = finetuning(len(data.train), 4, 3e-3, 4, network)
    shorter, longer = sorted((data.sizes.width, data.sizes.height))
    image_size, why = options.image_size, 'as --image-size says'
    if image_size is None:
        image_size, why = side(shorter, 64, 512), f'the median image is {data.sizes.width}x{data.sizes.height}'
    prefixes = {name: _common_folders(data.root, pairs) for name, pairs in (('train', data.train), ('val', data.val))}
    files = {}
    for name, pairs in (('train', data.train), ('val', data.val)):
        folder = data.root / prefixes[name][0]
        lines = [os.path.relpath(image, folder)[: -len(data.image_suffix)] for image, _ in pairs]
        files[options.beside(f'{name}.txt')] = '\n'.join(lines) + '\n'
    train_file, val_file = files
    windows, stride = '', image_size * 3 // 4
    if longer > _LARGEST_WHOLE:
        windows = f"""    # Images are large: they are tested in windows that overlap by a quarter.
    test_cfg=dict(mode='slide', crop_size=(image_size, image_size), stride=({stride}, {stride})),
"""
    statistics = _statistics([image for image, _ in data.train], network)
    load = f'num_classes=len(classes){f", label_map={data.label_map}" if data.label_map else ""}'
    config = f"""{_title('UperNet', 'label_maps', data.root, options)}
_base_ = {_base('label_maps')}

# ---- change these first ----
data_root = {data.root.as_posix()!r}
classes = {_names(data.classes)}  # 0, 1, ...; 255 is ignored
# A line an image, its path without {data.image_suffix}; the label map has the same and ends in {data.label_suffix}.
{_held_out(data.was_divided)}train_file = {train_file.as_posix()!r}
val_file = {val_file.as_posix()!r}
image_size = {image_size}  # of the crops: {why}
{_checkpoint(network)}

{_schedule(schedule)}

# ---- what follows from these ----
num_classes = len(classes)
model = dict({_preprocessor(statistics, 'size=(image_size, image_size)')}
    backbone={_backbone(network)},
    decode_head=dict(num_classes=num_classes, in_channels={list(network.channels)}),
    auxiliary_head=dict(num_classes=num_classes, in_channels={network.channels[2]}),
{windows})
train_pipeline, val_pipeline = _base_.train_dataloader.dataset.pipeline, _base_.test_pipeline
train_pipeline[1].update({load})
train_pipeline[2].update(crop_size=(image_size, image_size))
val_pipeline[1].update({load})
test_pipeline = val_pipeline
dataset = dict(
    data_root=data_root,
    metainfo=dict(classes=classes),
    img_suffix={data.image_suffix!r},
    seg_map_suffix={data.label_suffix!r},
)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(**dataset, ann_file=train_file, data_prefix={_prefix(prefixes['train'])}, pipeline=train_pipeline),
)
val_dataloader = dict(
    dataset=dict(**dataset, ann_file=val_file, data_prefix={_prefix(prefixes['val'])}, pipeline=val_pipeline)
)
test_dataloader = val_dataloader
{_FOLLOWS}"""
    return Plan(config, data.seen, files, data.samples(), data.counts, 'pixels', data.sizes.sizes)


def _common_folders(root: Path, pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the folders below ``root`` that all images and all label maps lie in."""
    folders = [os.path.commonpath([os.path.dirname(path) for path in paths]) for paths in zip(*pairs, strict=True)]
    return os.path.relpath(folders[0], root), os.path.relpath(folders[1], root)


def _prefix(folders: tuple[str, str]) -> str:
    return f'dict(img_path={folders[0]!r}, seg_map_path={folders[1]!r})'


def _held_out(was_divided: bool) -> str:
    if not was_divided:
        return ''
    return '# Every fifth is held out; if neighbours show the same thing, divide them yourself.\n'


# ---- class folders ----


def _classes(path: str, options: Options, network: Network) -> Plan:
    data = look_at_classes(path, options)
    schedule = finetuning(len(data.train), 32, 1e-3, 32, network)
    image_size, why = options.image_size, 'as --image-size says'
    if image_size is None:
        image_size = side(min(data.sizes.width, data.sizes.height), 64, 224)
        why = f'the median image is {data.sizes.width}x{data.sizes.height}'
    files = {
        options.beside(f'{name}.txt'): ''.join(f'{image} {label}\n' for image, label in images)
        for name, images in (('train', data.train), ('val', data.val))
    }
    train_file, val_file = files
    statistics = _statistics([str(data.root / image) for image, _ in data.train], network)
    topk = '(1, 5)' if len(data.classes) > 5 else '(1,)'
    config = f"""{_title('A classifier', 'classes', data.root, options)}
_base_ = {_base('classes')}

# ---- change these first ----
data_root = {data.root.as_posix()!r}
classes = {_names(data.classes)}  # 0, 1, ...
# A line an image: its path and the number of its class.
{_held_out(data.was_divided)}train_file = {train_file.as_posix()!r}
val_file = {val_file.as_posix()!r}
image_size = {image_size}  # {why}
{_checkpoint(network)}

{_schedule(schedule)}

# ---- what follows from these ----
num_classes = len(classes)
model = dict({_preprocessor(statistics, 'num_classes=num_classes')}
    backbone={_backbone(network)},
    head=dict(num_classes=num_classes, in_channels={network.channels[3]}),
)
train_pipeline, val_pipeline = _base_.train_dataloader.dataset.pipeline, _base_.val_dataloader.dataset.pipeline
train_pipeline[1].update(scale=image_size)
val_pipeline[1].update(scale=image_size)
val_pipeline[2].update(crop_size=image_size)
dataset = dict(data_root=data_root, data_prefix='', metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(**dataset, ann_file=train_file, pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(**dataset, ann_file=val_file, pipeline=val_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(topk={topk})
test_evaluator = val_evaluator
{_FOLLOWS}"""
    return Plan(config, data.seen, files, data.samples(), data.counts(), 'images to train on', data.sizes.sizes)


# ---- unlabelled images ----


def _images(path: str, options: Options, network: Network) -> Plan:
    data = look_at_images(path)
    schedule = pretraining(len(data.paths), network)
    shorter = min(data.sizes.width, data.sizes.height)
    image_size = options.image_size or min(224, max(64, shorter // 32 * 32))
    # The share of an image's area that a crop has when it is neither enlarged nor shrunk.
    share = min(1.0, image_size**2 / (data.sizes.width * data.sizes.height))
    scale = (round(min(0.2, share / 2), 3), round(min(1.0, 8 * share), 2))
    size_said = f'the median image is {data.sizes.width}x{data.sizes.height}, the most is 224'
    interval = max(1, schedule.length // 10)
    backbone = Network(network.kind, network.arch, network.channels)
    # A whole FCMAE goes on with its decoder, an encoder alone with a fresh one.
    start = "\n    init_cfg=dict(type='mmcnv2.PretrainedFCMAE', checkpoint=checkpoint)," if network.checkpoint else ''
    statistics = _statistics(data.paths, network)
    decoder_dims = network.decoder_dims or (128 if network.is_small else 512)
    seen = [
        *data.seen,
        f'crops of {image_size} pixels ({size_said}), {scale[0]:g} to {scale[1]:g} of the area of an image',
        f'{schedule.length} epochs ({schedule.length_said}), batch {schedule.batch_size}, lr {schedule.lr:g} '
        f'({schedule.lr_said})',
        'assumed: objects are larger than a patch of 32 pixels in a crop (smaller ones: --image-size 128), and up '
        'is up (crops are flipped left to right only)',
    ]
    if statistics:
        seen.append(f'{statistics.normalization}, {statistics.why}')
    config = f"""{_title('FCMAE pre-training', 'images', data.root, options)}
_base_ = {_base('images')}

# ---- change these first ----
data_root = {data.root.as_posix()!r}  # with its sub-folders
list_file = ''  # a text file with a path a line; '' is all images
image_size = {image_size}  # of the crops: {size_said}
# Their share of an image's area. At {share:.3f} a median image is neither enlarged nor shrunk. Objects should be
# larger than a patch of 32 pixels: if they are not, take smaller crops or smaller shares.
crop_scale = {scale}
{_checkpoint(network)}

# ---- how long and how fast ----
max_epochs = {schedule.length}  # {schedule.length_said}
batch_size = {schedule.batch_size}
lr = {schedule.lr:g}  # {schedule.lr_said}

# ---- what follows from these ----
model = dict({_preprocessor(statistics)}
    backbone={_backbone(backbone)},
    decoder_embed_dims={decoder_dims},
    decoder_depth={network.decoder_depth},{start}
)
crop, _ = pipeline = _base_.train_dataloader.dataset.pipeline
crop.update(size=image_size, scale=crop_scale)
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(data_root=data_root, ann_file=list_file, pipeline=pipeline)
)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=lr))
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(checkpoint=dict(interval={interval}))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval={interval}),
]
"""
    return Plan(config, seen, {}, data.samples(), sizes=data.sizes.sizes)


# ---- parts of every config ----

_FOLLOWS = """
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
optim_wrapper = dict(
    optimizer=dict(lr=lr),
    # What is trained already moves less.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3)) if checkpoint else {}),
)
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(checkpoint=dict(interval=max_iters // 10))
"""


def _title(what: str, kind: str, root: Path, options: Options) -> str:
    return (
        f'# {what} on {root.name}, written by `mmcnv2 init {kind}`. What it saw is in {options.out.stem}.png.\n'
        f'#   mmcnv2 check {options.out.name}    looks at settings and data, without training\n'
        f'#   mmcnv2 train {options.out.name}    results go to work_dirs/{options.out.stem}\n'
    ).rstrip()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _base(recipe: str) -> str:
    return repr(f'mmcnv2::own_data/{_RECIPES[recipe]}.py')


def _names(classes: Sequence[str]) -> str:
    """Return the tuple as text, in lines of moderate length."""
    line = repr(tuple(classes))
    if len(line) <= 90:
        return line
    lines, current = [], '   '
    for name in classes:
        if len(current) + len(repr(name)) > 110:
            lines.append(current)
            current = '   '
        current += f' {name!r},'
    return '\n'.join(['(', *lines, current, ')'])


def _checkpoint(network: Network) -> str:
    hint = '# Random weights. `mmcnv2 init ... --checkpoint FILE` starts from FCMAE, official or ImageNet weights.\n'
    return f'{"" if network.checkpoint else hint}checkpoint = {network.checkpoint!r}'


def _backbone(network: Network) -> str:
    init = f"dict(type='mmcnv2.Pretrained{network.kind}', checkpoint=checkpoint)"
    weights = f', init_cfg={init}' if network.checkpoint else ''
    return f"dict(type='mmcnv2.{network.kind}', arch={network.arch!r}{weights})"


class _Statistics(NamedTuple):
    """What images are normalised with if it is not ImageNet's mean and std, and why."""

    normalization: Normalization
    why: str


def _statistics(paths: Sequence[str], network: Network) -> _Statistics | None:
    """Return the checkpoint's mean and std; without any, those of grey images; None for ImageNet's.

    Weights from elsewhere that do not say what they were trained with want ImageNet's.
    """
    if network.normalization is not None:
        is_usual = network.normalization == IMAGENET
        return None if is_usual else _Statistics(network.normalization, 'as in the training of the checkpoint')
    if network.checkpoint is not None and not network.is_ours:
        return None
    grey = grey_statistics(paths)
    if grey is None:
        return None
    mean, std = grey
    why = 'most images are grey: one mean and one std for all channels'
    return _Statistics(Normalization((mean,) * 3, (std,) * 3), why)


def _preprocessor(statistics: _Statistics | None, other: str = '') -> str:
    """Return the lines of the data preprocessor, if there is anything to set."""
    if statistics is None:
        return f'\n    data_preprocessor=dict({other}),' if other else ''
    (mean, std), why = statistics
    settings = ', '.join([*filter(None, [other]), f'mean={[*mean]}, std={[*std]}'])
    return f'\n    # {why[0].upper()}{why[1:]} (docs/how_to/data.md).\n    data_preprocessor=dict({settings}),'


def _schedule(schedule: Schedule) -> str:
    return f"""# ---- how long and how fast ----
max_iters = {schedule.length}  # {schedule.length_said}
batch_size = {schedule.batch_size}
lr = {schedule.lr:g}  # {schedule.lr_said}"""
