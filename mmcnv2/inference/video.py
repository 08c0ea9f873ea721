"""Videos that are written whole or not at all."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from mmcnv2.utils.files import temporary_name, written_whole

_USUAL_RATE = 25  # where nobody says how fast frames follow each other
_QUALITY = '20'  # x264's constant rate factor: 0 is lossless, 23 its default


class VideoFile:
    """An MP4 file with H.264, which browsers and players show.

    Args:
        path: The file, there once :meth:`close` is called.
        rate: Frames per second; 0: 25.
    """

    def __init__(self, path: Path, rate: float) -> None:
        import av

        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = temporary_name(path)
        self._container = av.open(str(self._temporary), 'w', format='mp4')
        self._stream = self._container.add_stream('h264', rate=Fraction(rate or _USUAL_RATE).limit_denominator(1001))
        self._stream.pix_fmt = 'yuv420p'
        self._stream.options = {'crf': _QUALITY}
        self._is_open = False

    def add(self, frame: np.ndarray) -> None:
        """Add a frame (H, W, 3) uint8 RGB, all of one size; an odd side grows by a pixel, as H.264 wants."""
        import av

        frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode='edge')
        if not self._is_open:
            self._stream.height, self._stream.width = frame.shape[:2]
            self._is_open = True
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')):
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file, and give it its name."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        with written_whole(self.path) as temporary:
            assert temporary == self._temporary  # has all of it

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._container.close()
        self._temporary.unlink(missing_ok=True)
