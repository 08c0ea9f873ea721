"""Predictions in files: one COCO file, label maps, pictures, videos. Stopped and started again, it goes on.

``progress.jsonl`` in the folder holds what is done, a line an image, after a line with the settings; at the end
``predictions.json`` is made of it.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmcnv2.utils.errors import ConfigError, ExistingFileError, InputError
from mmcnv2.utils.files import written_whole
from mmcnv2.utils.progress import Progress
from mmcnv2.version import __version__

from .predictor import Predictor
from .results import Classification, Detections, Result, Segmentation
from .sources import Item, Stream, output_names
from .video import VideoFile

PROGRESS, ERRORS, PREDICTIONS = 'progress.jsonl', 'errors.jsonl', 'predictions.json'
_JPEG_QUALITY = 92


@dataclass
class Written:
    """What a call of ``write_predictions`` did.

    Attributes:
        done: Images and frames predicted in this call.
        before: Those that were there already.
        errors: Files that could not be read.
    """

    done: int = 0
    before: int = 0
    errors: int = 0


def default_kinds(predictor: Predictor, items: Sequence[Item]) -> tuple[str, ...]:
    """Return what is written unless told otherwise: numbers if there are any, and pictures, of streams as videos."""
    numbers = next(kind for kind in (*predictor.task.writes, '') if kind in ('json', 'masks', ''))
    streams = [item.is_stream for item in items]
    drawn = ['pictures'] * (not all(streams)) + ['video'] * any(streams)
    return tuple(filter(None, (numbers, *drawn)))


def check_kinds(predictor: Predictor, items: Sequence[Item], kinds: Sequence[str]) -> None:
    """Check what is to be written.

    Raises:
        InputError: The kind of model has nothing of the kind, or there is no video.
    """
    if wrong := [kind for kind in kinds if kind not in predictor.task.writes]:
        name = type(predictor.model).__name__
        raise InputError(f'--save {wrong[0]}: of {name}, {", ".join(predictor.task.writes)} can be saved')
    if 'video' in kinds and not any(item.is_stream for item in items):
        raise InputError('--save video: there is no video among the sources; pictures draws images')


def read_coco_ids(path: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return the ids of images by file name, and of categories by name, of an annotation file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        content = json.loads(Path(path).read_text())
        images = {image['file_name']: image['id'] for image in content['images']}
        return images, {category['name']: category['id'] for category in content['categories']}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'--coco {path} is no COCO annotation file: {type(error).__name__}: {error}') from error


def write_predictions(
    predictor: Predictor,
    items: Sequence[Item],
    out: Path,
    kinds: Sequence[str],
    settings: dict[str, Any],
    batch_size: int = 1,
    tile: int | None = None,
    overlap: float = 0.2,
    coco: tuple[dict[str, int], dict[str, int]] | None = None,
) -> Written:
    """Predict items that are not done yet, and write what is asked for.

    Args:
        predictor: The model.
        items: See ``find_items``.
        out: Folder, made if it is not there.
        kinds: Of 'json', 'masks' (label maps), 'pictures' and 'video'.
        settings: What the results depend on; a folder has results of one kind.
        batch_size: See ``Predictor``.
        tile: See ``Predictor``.
        overlap: See ``Predictor``.
        coco: Ids of images and categories, see ``read_coco_ids``; None: numbered from 1.

    Returns:
        How much was done.

    Raises:
        ExistingFileError: The folder has results of other settings.
        ConfigError: An image or a class is not in ``coco``.
    """
    names = output_names(items)
    _check_coco(coco, predictor, items)
    with Record(out, settings) as record:
        todo = [i for i in range(len(items)) if names[i] not in record.done]
        written = Written(before=record.images)
        record.forget_errors()

        def note_error(path: str, error: Exception) -> None:
            written.errors += 1
            record.add_error(path, error)

        counts_and_rates = {i: _count_and_rate(items[i]) for i in todo}
        rates = {i: rate for i, (_, rate) in counts_and_rates.items()}
        stream_writer = _StreamWriter(out, names, items, record, rates)
        first_label = predictor.task.first_label
        progress = Progress('predict', sum(count for count, _ in counts_and_rates.values()))
        results = predictor.predict_items([items[i] for i in todo], batch_size, tile, overlap, note_error)
        with contextlib.closing(results), stream_writer:  # type: ignore[type-var]
            try:
                for index, result in results:
                    number = todo[index]
                    stream_writer.go_to(number)
                    _write_files(result, out, names[number], kinds, first_label)
                    if result.frame is not None and 'video' in kinds:
                        stream_writer.add(result)
                    record.add(names[number], items[number], result, 'json' in kinds)
                    written.done += 1
                    progress.update(written.done)
            except KeyboardInterrupt:
                if all(item.camera is None for item in items):
                    raise
                # A camera has no end of its own.
            stream_writer.finish()
        if 'json' in kinds:
            write_coco(record, predictor, out / PREDICTIONS, settings, coco)
    return written


def _count_and_rate(item: Item) -> tuple[int, float]:
    """Return number of frames and frames per second as far as the file says them, else 0; 1 and 0 of an image."""
    if not item.is_stream or item.path is None:  # a camera is opened once
        return 1, 0.0
    try:
        stream = Stream(item)
    except InputError:
        return 0, 0.0
    return stream.count, stream.rate


def label_map_picture(result: Segmentation, first_label: int) -> Image.Image:
    """Return a label map as it is in files, where class 0 is ``first_label``; one channel of 8 or 16 bits."""
    return Image.fromarray(result.label_map + result.label_map.dtype.type(first_label))


def _write_files(result: Result, out: Path, name: str, kinds: Sequence[str], first_label: int) -> None:
    place = name if result.frame is None else f'{name}/{result.frame:06}'
    if 'masks' in kinds and isinstance(result, Segmentation):
        with written_whole(out / 'label_maps' / f'{place}.png') as temporary:
            label_map_picture(result, first_label).save(temporary)
    if 'pictures' in kinds and (result.frame is None or 'video' not in kinds):
        with written_whole(out / 'pictures' / f'{place}.jpg') as temporary:
            Image.fromarray(result.draw()).save(temporary, quality=_JPEG_QUALITY)


class Record:
    """``progress.jsonl``: what is done, in lines that are complete or not there.

    Args:
        out: Its folder.
        settings: Compared with those of the file.

    Attributes:
        done: Names of the items that are done.
        images: Number of their images and frames.

    Raises:
        ExistingFileError: The folder has results of other settings, or of another program.
    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.path = out / PROGRESS
        self._errors = out / ERRORS
        out.mkdir(parents=True, exist_ok=True)
        self.done: set[str] = set()
        self.images = 0
        settings = json.loads(json.dumps(settings))
        if self.path.exists() and self.path.stat().st_size:
            self._read(out, settings)
        else:
            if (out / PREDICTIONS).exists():
                raise ExistingFileError(f'{out} has a {PREDICTIONS} and no {PROGRESS}: give another --out')
            self.path.write_text(json.dumps(dict(settings=settings)) + '\n')
        self._file = self.path.open('a', encoding='utf-8')

    def __enter__(self) -> 'Record':
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def _read(self, out: Path, settings: dict[str, Any]) -> None:
        """Read which items are done; leave out a last line that was cut off, and streams that were not finished."""
        with self.path.open('rb+') as file:
            file.truncate(sum(len(line) for line in file if line.endswith(b'\n')))
        unfinished: set[str] = set()
        with self.path.open(encoding='utf-8') as lines:
            old = json.loads(next(lines, '{}')).get('settings', {})
            if old != settings:
                keys = sorted(key for key in {*old, *settings} if old.get(key) != settings.get(key))
                listed = ', '.join(f'{key} {old.get(key)!r} (now {settings.get(key)!r})' for key in keys)
                raise ExistingFileError(f'{out} has predictions of other settings: {listed}. Give another --out')
            for line in lines:
                entry = json.loads(line)
                if entry.get('end'):
                    self.done.add(entry['name'])
                    self.images += entry.get('frames', 1)
                    unfinished.discard(entry['name'])
                else:
                    unfinished.add(entry['name'])
        if unfinished:  # streams start again
            with written_whole(self.path) as temporary, temporary.open('w') as kept, self.path.open() as lines:
                kept.writelines(line for line in lines if json.loads(line).get('name') not in unfinished)

    def add(self, name: str, item: Item, result: Result, with_annotations: bool) -> None:
        """Add an image, or a frame of a stream, which counts once ``end`` was called."""
        height, width = result.image.shape[:2]
        image = dict(file_name=item.name, width=width, height=height)
        if result.frame is not None:
            image['frame'] = result.frame
        entry: dict[str, Any] = dict(name=name, image=image, end=result.frame is None)
        if with_annotations:
            entry['annotations'] = list(coco_annotations(result))
        self._write(entry)

    def end(self, name: str, frames: int) -> None:
        """Note that a stream is done."""
        self._write(dict(name=name, end=True, frames=frames))

    def add_error(self, path: str, error: Exception) -> None:
        """Add a file that could not be read to ``errors.jsonl``."""
        with self._errors.open('a', encoding='utf-8') as file:
            file.write(json.dumps(dict(path=path, error=str(error)), ensure_ascii=False) + '\n')

    def forget_errors(self) -> None:
        """Remove the errors of an earlier call: those files are tried again."""
        self._errors.unlink(missing_ok=True)

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + '\n')
        self._file.flush()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the images and frames with their annotations."""
        with self.path.open(encoding='utf-8') as lines:
            next(lines)
            for line in lines:
                entry = json.loads(line)
                if 'image' in entry:
                    yield entry


class _StreamWriter:
    """Ends one stream when the next item begins: its video, and its line in the record."""

    def __init__(
        self, out: Path, names: Sequence[str], items: Sequence[Item], record: Record, rates: Mapping[int, float]
    ) -> None:
        self._out, self._names, self._items, self._record, self._rates = out, names, items, record, rates
        self._number: int | None = None
        self._frames = 0
        self._video: VideoFile | None = None

    def __enter__(self) -> '_StreamWriter':
        return self

    def __exit__(self, *exception: object) -> None:
        if self._video is not None:
            self._video.abandon()

    def go_to(self, number: int) -> None:
        """Note that an image or a frame of an item comes now."""
        if number != self._number:
            self.finish()
            self._number, self._frames = number, 0
        self._frames += 1

    def add(self, result: Result) -> None:
        """Add a frame to the video of the stream."""
        assert self._number is not None
        if self._video is None:
            path = self._out / 'videos' / f'{self._names[self._number]}.mp4'
            self._video = VideoFile(path, self._rates[self._number])
        self._video.add(result.draw())

    def finish(self) -> None:
        """End the stream whose frames came last, if there is one."""
        if self._number is not None and self._items[self._number].is_stream:
            if self._video is not None:
                self._video.close()
                self._video = None
            self._record.end(self._names[self._number], self._frames)
        self._number = None


# ---- COCO ----


def coco_annotations(result: Result) -> Iterator[dict[str, Any]]:
    """Yield objects, the region of each class or the class of the image, with ``label`` in place of the ids.

    Regions are run-length encoded.
    """
    if isinstance(result, Detections):
        for i, (box, score, label) in enumerate(zip(result.boxes, result.scores, result.labels, strict=True)):
            x1, y1, x2, y2 = (float(value) for value in box)
            region = dict(area=(x2 - x1) * (y2 - y1)) if result.parts is None else _region(result.mask(i))
            yield region | dict(label=int(label), bbox=[x1, y1, x2 - x1, y2 - y1], score=float(score))
    elif isinstance(result, Segmentation):
        for label in np.unique(result.label_map):
            yield _region(result.label_map == label) | dict(label=int(label))
    elif isinstance(result, Classification):
        yield dict(label=result.label, score=float(result.probabilities[result.label]))


def coco_of_image(result: Result, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what ``predictions.json`` has of one image, whose id is 1.

    Args:
        result: Of the image.
        name: Its ``file_name``.
        settings: What is said in ``info`` beside the version.
    """
    height, width = result.image.shape[:2]
    ids = range(1, len(result.classes) + 1)
    found = enumerate(coco_annotations(result), start=1)
    return dict(
        info=_info(settings),
        categories=_categories(ids, result.classes),
        images=[dict(id=1, file_name=name, width=width, height=height)],
        annotations=[_annotation(number, 1, ids, one) for number, one in found],
    )


def _info(settings: dict[str, Any]) -> dict[str, Any]:
    return dict(description=f'predictions of mmcnv2 {__version__}', **settings)


def _categories(ids: Sequence[int], classes: Sequence[str]) -> list[dict[str, Any]]:
    return [dict(id=number, name=name) for number, name in zip(ids, classes, strict=True)]


def _annotation(number: int, image_id: int, category_ids: Sequence[int], one: dict[str, Any]) -> dict[str, Any]:
    """Return an annotation of COCO for one of ``coco_annotations``."""
    rest = {key: value for key, value in one.items() if key != 'label'}
    return dict(id=number, image_id=image_id, category_id=category_ids[one['label']], **rest, iscrowd=0)


def _region(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco

    code = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    segmentation = dict(size=code['size'], counts=code['counts'].decode())
    return dict(segmentation=segmentation, area=int(coco.area(code)), bbox=coco.toBbox(code).tolist())


def write_coco(
    record: Record,
    predictor: Predictor,
    path: Path,
    settings: dict[str, Any],
    coco: tuple[dict[str, int], dict[str, int]] | None,
) -> None:
    """Write ``predictions.json`` from a record, a line an image; memory does not grow with their number."""
    image_ids, category_ids = coco or ({}, {})
    ids = [category_ids.get(name, i) for i, name in enumerate(predictor.classes, start=1)]
    categories, info = _categories(ids, predictor.classes), _info(settings)

    def image_id(number: int, image: dict[str, Any]) -> int:
        return image_ids.get(image['file_name'], number) if coco else number

    with written_whole(path) as temporary, temporary.open('w', encoding='utf-8') as file:
        file.write(f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(categories)},\n"images": [')
        for number, entry in enumerate(record.entries(), start=1):
            image = dict(id=image_id(number, entry['image']), **entry['image'])
            file.write(f'{"," * (number > 1)}\n{json.dumps(image)}')
        file.write('],\n"annotations": [')
        count = 0
        for number, entry in enumerate(record.entries(), start=1):
            for one in entry.get('annotations', ()):
                count += 1
                annotation = _annotation(count, image_id(number, entry['image']), ids, one)
                file.write(f'{"," * (count > 1)}\n{json.dumps(annotation)}')
        file.write(']}\n')


def _check_coco(
    coco: tuple[dict[str, int], dict[str, int]] | None, predictor: Predictor, items: Sequence[Item]
) -> None:
    if coco is None:
        return
    for what, known, given in (
        ('image', coco[0], [item.name for item in items]),
        ('category', coco[1], predictor.classes),
    ):
        if unknown := [name for name in given if name not in known]:
            raise ConfigError(
                f'--coco: the file has no {what} of {len(unknown)} of {len(given)} names, for instance {unknown[0]!r}'
            )
