"""Mean, deviation, percentiles and range of the bands of image files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mmcnv2.utils.errors import InputError

from .bands import HIGHEST, BandFile, Bands
from .images import UnreadableImageError

PERCENTILES = (0.1, 1, 50, 99, 99.9)
#: Pixels of each band from which percentiles are computed, over all files: 16 MB a band.
SAMPLE = 4_000_000


class BandStatistics:
    """What ``mmcnv2 stats`` tells of files, collected one file after the other: one image is in memory.

    Mean, deviation, lowest and highest value are those of all pixels (Chan's method, in 64 bits). Percentiles, and
    mean and deviation on the scale of ``value_range``, are those of all pixels up to ``SAMPLE``; of more, of as many
    drawn from every file. Values that are not finite are counted, and left out of the rest.

    Args:
        num_files: How many files there will be.
        bands: 'all' or indices from 0.
    """

    def __init__(self, num_files: int, bands: Bands = 'all') -> None:
        self._bands = bands
        self._first: BandFile | None = None
        self._most = max(1, SAMPLE // num_files)
        self._random = np.random.default_rng(0)
        self._samples: list[list[np.ndarray]] = []
        self._moments: list[tuple[int, float, float]] = []  # count, mean, sum of squared differences from it
        self._extremes: list[tuple[float, float]] = []
        self._not_finite: list[int] = []
        self.unreadable: dict[str, str] = {}
        self._dtypes: Counter[str] = Counter()
        self._sizes: list[tuple[int, int]] = []

    def add(self, paths: Sequence[str]) -> Iterator[tuple[list[int], str]]:
        """Read files; those that cannot be read are in ``unreadable``, with the reason.

        Yields:
            The index of each file that is done, in a list, and its path.

        Raises:
            InputError: A file has another number of bands than those before.
        """
        for index, path in enumerate(paths):
            try:
                file = BandFile(path, bands=self._bands)
                pixels = file.read_values(0, 0, file.height, file.width)
            except UnreadableImageError as error:
                self.unreadable[path] = error.reason
            else:
                self._add(file, pixels)
            yield [index], path

    def _add(self, file: BandFile, pixels: np.ndarray) -> None:
        if self._first is None:
            self._first = file
            self._samples = [[] for _ in file.bands]
            self._moments = [(0, 0.0, 0.0)] * len(file.bands)
            self._extremes = [(np.inf, -np.inf)] * len(file.bands)
            self._not_finite = [0] * len(file.bands)
        if file.bands != self._first.bands:
            raise InputError(
                f'{self._first.path} has {self._first.count} bands, {file.path} has {file.count}: name those to use '
                'with --bands, or keep files of one kind in a folder'
            )
        self._dtypes[str(file.dtype)] += 1
        self._sizes.append((file.height, file.width))
        for i in range(pixels.shape[-1]):
            values = pixels[..., i].ravel()
            if values.dtype.kind == 'f':
                is_finite = np.isfinite(values)
                self._not_finite[i] += values.size - int(is_finite.sum())
                values = values[is_finite]
            if values.size:
                self._add_band(i, values)

    def _add_band(self, i: int, values: np.ndarray) -> None:
        low, high = self._extremes[i]
        self._extremes[i] = min(low, float(values.min())), max(high, float(values.max()))
        count, mean, squares = self._moments[i]
        wide = values.astype(np.float64)
        own = wide.mean()
        total = count + wide.size
        difference = own - mean
        squares += np.square(wide - own).sum() + difference**2 * count * wide.size / total
        self._moments[i] = total, mean + difference * wide.size / total, squares
        if values.size > self._most:
            values = values[self._random.integers(values.size, size=self._most)]
        self._samples[i].append(values.astype(np.float32))

    def result(self) -> dict[str, Any]:
        """Return what was collected.

        Returns:
            ``files``, ``unreadable`` (paths), ``bands`` (indices in the files), ``dtype`` (files by type), ``height``
            and ``width`` ([lowest, highest]) and, with a number for each band, ``mean``, ``std``, ``min``, ``max``,
            ``percentiles`` (by percent), ``not_finite`` (values), ``value_range`` ([lowest, highest]: 0 and 255 of
            files of 8 bits, else the percentiles 0.1 and 99.9), and ``scaled_mean`` and ``scaled_std``: mean and
            deviation of what transforms give with that ``value_range``, from 0 to 255.

        Raises:
            InputError: No file could be read, or a band has no value that is finite.
        """
        if self._first is None:
            example = next(iter(self.unreadable.items()), ('', 'there are none'))
            raise InputError(f'none of {len(self.unreadable)} files can be read, for instance {": ".join(example)}')
        if empty := [band for band, (count, *_) in zip(self._first.bands, self._moments, strict=True) if not count]:
            raise InputError(f'band {empty[0]} has no finite value in any file: leave it out with --bands')
        has_8_bits = set(self._dtypes) == {'uint8'}
        percentiles, ranges, scaled = [], [], []
        for parts in self._samples:  # one band at a time: the scaled values are twice as large as the sample
            sample = np.concatenate(parts)
            percentiles.append(np.percentile(sample, PERCENTILES).tolist())
            low, *_, high = percentiles[-1]
            low, high = (0.0, float(HIGHEST)) if has_8_bits else (low, high if high > low else low + 1)
            ranges.append([low, high])
            values = (sample.astype(np.float64).clip(low, high) - low) * (HIGHEST / (high - low))
            scaled.append((float(values.mean()), float(values.std())))
        heights, widths = zip(*self._sizes, strict=True)
        return dict(
            files=len(self._sizes),
            unreadable=sorted(self.unreadable),
            bands=list(self._first.bands),
            dtype=dict(self._dtypes),
            height=[min(heights), max(heights)],
            width=[min(widths), max(widths)],
            mean=[mean for _, mean, _ in self._moments],
            std=[float(np.sqrt(squares / count)) for count, _, squares in self._moments],
            min=[low for low, _ in self._extremes],
            max=[high for _, high in self._extremes],
            percentiles={
                str(p): list(row) for p, row in zip(PERCENTILES, zip(*percentiles, strict=True), strict=True)
            },
            not_finite=self._not_finite,
            value_range=ranges,
            scaled_mean=[mean for mean, _ in scaled],
            scaled_std=[std for _, std in scaled],
        )
