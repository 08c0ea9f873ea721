"""The page: a tab for each model, and what happens when something is chosen in it."""

import functools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from mmcnv2.datasets import BandFile, UnreadableImageError
from mmcnv2.inference import Predictor, Result
from mmcnv2.inference.tasks import Reconstructing
from mmcnv2.utils.errors import InputError

from .models import Models, Neighbours

MOST_PIXELS = 50_000_000
NUM_NEIGHBOURS = 8
_LONGEST_SIDE = 1600  # of what is sent to the browser, in pixels
_HEIGHT = 360  # of a picture in the page
_DELETED = (60, 3600)  # seconds: looked for every minute, uploads and pictures an hour old
_TILES = {'whole image': None, 'tiles of 512 pixels': 512, 'tiles of 1024 pixels': 1024}
# Raw values of components, so that files are read by the models' own readers; one computation at a time.
_EVENT: dict[str, Any] = dict(preprocess=False, concurrency_limit=1, concurrency_id='models', show_progress='minimal')


def build_page(models: Models, examples: Sequence[Path]) -> gr.Blocks:
    """Return the page.

    Args:
        models: What there are tabs for.
        examples: Images to choose from.
    """
    tabs: dict[str, Callable[[], None]] = {}
    if models.detector is not None:
        tabs['Detect'] = functools.partial(_detect_tab, models.detector, examples)
    if models.segmenter is not None:
        tabs['Segment'] = functools.partial(_segment_tab, models.segmenter, examples)
    if models.fcmae is not None:
        tabs['Reconstruct'] = functools.partial(_reconstruct_tab, models.fcmae, examples)
    if models.neighbours is not None:
        tabs['Nearest neighbours'] = functools.partial(_neighbours_tab, models.neighbours, examples)
    with gr.Blocks(title='mmcnv2', analytics_enabled=False, delete_cache=_DELETED) as page:
        gr.Markdown('# mmcnv2')
        for name, fill in tabs.items():
            with gr.Tab(name):
                fill()
    page.queue(max_size=100)
    return page


def _upload(examples: Sequence[Path]) -> gr.Image:
    """Add the place for an image, with the examples below it."""
    image = gr.Image(
        type='filepath', image_mode=None, sources=['upload', 'clipboard'], label='Image', height=_HEIGHT, buttons=[]
    )
    # Not gr.Examples, which stay empty in a tab that is opened later.
    paths = [str(path) for path in examples]
    gallery = gr.Gallery(
        paths, label='Examples', columns=len(paths), height=150, allow_preview=False, interactive=False, buttons=[]
    )

    def choose(event: gr.SelectData) -> str:
        return paths[event.index]

    gallery.select(choose, None, [image], api_visibility='private', show_progress='hidden')
    return image


def _tiling() -> gr.Radio:
    return gr.Radio([*_TILES], value=next(iter(_TILES)), label='Predict')


def _picture(label: str) -> gr.Image:
    return gr.Image(label=label, interactive=False, format='png', height=_HEIGHT, buttons=['download', 'fullscreen'])


def checked_upload(payload: dict[str, Any]) -> str:
    """Return the path of an upload that a model may read.

    Args:
        payload: As the browser sends it, with ``path``.

    Raises:
        UnreadableImageError: It is no image.
        InputError: It is too large.
    """
    path = payload['path']
    file = BandFile(path)
    if file.height * file.width > MOST_PIXELS:
        raise InputError(
            f'The image has {file.width}x{file.height} pixels, more than the {MOST_PIXELS:,} of this page: make it '
            'smaller, or use mmcnv2 predict --tile.'
        )
    return path


def _with_messages(count: int) -> Callable[[Callable], Callable]:
    """Make a function of an upload clear ``count`` outputs if there is none, and say in the page what is wrong."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(upload: dict[str, Any] | None, *args: Any) -> Any:
            if not upload:
                return [None] * count if count > 1 else None
            try:
                return function(checked_upload(upload), *args)
            except UnreadableImageError as error:
                raise gr.Error(f'The image cannot be read: {error.reason}', duration=30) from error
            except InputError as error:
                raise gr.Error(str(error), duration=30) from error

        return wrapped

    return decorate


def _predicted(predictor: Predictor, path: str, tile: int | None = None) -> tuple[Any, str]:
    """Return the result of an image, and a line on its size and the time it took."""
    start = time.monotonic()
    (result,) = predictor(path, tile=tile)
    height, width = result.image.shape[:2]
    return result, f'{width}x{height} pixels, {time.monotonic() - start:.2f} s'


def _shown(picture: np.ndarray) -> np.ndarray:
    """Return a picture as large as a browser shows it: large ones smaller, small ones larger."""
    side = max(picture.shape[:2])
    is_small = side <= _LONGEST_SIDE // 4
    factor = float(_LONGEST_SIDE // 2 // side) if is_small else min(_LONGEST_SIDE / side, 1)
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=interpolation)


def _drawn(result: Result) -> np.ndarray:
    return _shown(result.draw())


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(str(cell).replace('|', '\\|') for cell in line) + ' |' for line in lines)


def _detect_tab(predictor: Predictor, examples: Sequence[Path]) -> None:
    with gr.Row():
        with gr.Column():
            image = _upload(examples)
            threshold = gr.Slider(0.05, 0.95, value=0.3, step=0.05, label='Lowest score')
            tiles = _tiling()
        with gr.Column():
            picture, text = _picture('Objects'), gr.Markdown()

    @_with_messages(2)
    def detect(path: str, lowest: float, tiling: str) -> tuple[np.ndarray, str]:
        predictor.task.score_threshold = lowest  # type: ignore[attr-defined]
        result, line = _predicted(predictor, path, _TILES[tiling])
        counts = Counter(result.labels.tolist())
        rows = [(result.classes[label], number) for label, number in counts.most_common()]
        return _drawn(result), f'objects: {len(result.labels)}; {line}\n\n{_table(("class", "objects"), rows)}'

    gr.on(
        [image.change, threshold.release, tiles.change],
        detect,
        [image, threshold, tiles],
        [picture, text],
        api_name='detect',
        **_EVENT,
    )


def _segment_tab(predictor: Predictor, examples: Sequence[Path]) -> None:
    with gr.Row():
        with gr.Column():
            image = _upload(examples)
            tiles = _tiling()
        with gr.Column():
            picture, text = _picture('Classes'), gr.Markdown()

    @_with_messages(2)
    def segment(path: str, tiling: str) -> tuple[np.ndarray, str]:
        result, line = _predicted(predictor, path, _TILES[tiling])
        labels, numbers = np.unique(result.label_map, return_counts=True)
        order = np.argsort(-numbers)
        shares = numbers / result.label_map.size
        rows = [(result.classes[labels[i]], f'{shares[i]:.1%}') for i in order]
        return _drawn(result), f'{line}\n\n{_table(("class", "pixels"), rows)}'

    gr.on([image.change, tiles.change], segment, [image, tiles], [picture, text], api_name='segment', **_EVENT)


def _reconstruct_tab(predictor: Predictor, examples: Sequence[Path]) -> None:
    task = predictor.task
    assert isinstance(task, Reconstructing)
    with gr.Row():
        with gr.Column():
            image = _upload(examples)
            ratio = gr.Slider(0.05, 0.95, value=task.mask_ratio, step=0.05, label='Mask ratio')
            seed = gr.Number(0, precision=0, minimum=0, label='Seed of the mask')
        with gr.Column():
            masked, picture = (
                _picture('What the encoder sees: click to mask or show a patch'),
                _picture('Reconstruction'),
            )
            text = gr.Markdown()
    mask = gr.State(None)  # (h, w) bool
    outputs = [masked, picture, text, mask]

    def reconstructed(path: str) -> tuple[np.ndarray, np.ndarray, str, np.ndarray]:
        result, line = _predicted(predictor, path)
        removed = f'patches masked: {int(result.mask.sum())} of {result.mask.size}'
        return _shown(result.masked), _shown(result.reconstruction), f'{removed}; {line}', result.mask

    @_with_messages(4)
    def reconstruct(path: str, mask_ratio: float, number: float | None) -> tuple:
        task.mask, task.mask_ratio, task.seed = None, mask_ratio, int(number or 0)
        return reconstructed(path)

    @_with_messages(4)
    def toggle(path: str, old: np.ndarray | None, event: gr.SelectData) -> tuple:
        if old is None:
            raise InputError('Wait for the reconstruction first.')
        file = BandFile(path)
        height, width = _shown(np.empty((file.height, file.width), np.uint8)).shape
        column, row = event.index
        new = old.copy()
        new[min(row * len(new) // height, len(new) - 1), min(column * new.shape[1] // width, new.shape[1] - 1)] ^= True
        if new.all() or not new.any():
            raise InputError('At least one patch must be masked, and one visible.')
        task.mask = new
        return reconstructed(path)

    inputs = [image, ratio, seed]
    gr.on([image.change, ratio.release, seed.change], reconstruct, inputs, outputs, api_name='reconstruct', **_EVENT)
    masked.select(toggle, [image, mask], outputs, api_visibility='private', **_EVENT)


def _neighbours_tab(neighbours: Neighbours, examples: Sequence[Path]) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            image = _upload(examples)
        with gr.Column(scale=2):
            gallery = gr.Gallery(
                label=f'Nearest of {neighbours.file.name}',
                columns=4,
                format='png',
                interactive=False,
                object_fit='contain',
            )

    @_with_messages(1)
    def find(path: str) -> list[tuple[np.ndarray, str]]:
        return neighbours.find(path, NUM_NEIGHBOURS)

    gr.on([image.change], find, [image], [gallery], api_name='neighbours', **_EVENT)
