"""A page in one file: text, tables, pictures, and nothing that a browser would fetch."""

import base64
import csv
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mmcnv2.utils.files import written_whole

_STYLE = """
body { font-family: system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; font-size: 0.9rem; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
th { background: #f2f2f2; }
img { max-width: 100%; }
figure { margin: 0.5rem 0 1.2rem; }
figcaption { font-size: 0.85rem; color: #555; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.8rem; }
"""
_DPI = 100


class Page:
    """A page that is built from top to bottom; tables and plots are files beside it as well.

    Args:
        folder: Where the files go.
        title: Of the page.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.folder = folder
        self._title = html.escape(title)
        self._parts = [f'<h1>{self._title}</h1>']

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f'<h2>{html.escape(text)}</h2>')

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f'<p>{html.escape(text)}</p>')

    def listing(self, summary: str, text: str) -> None:
        """Add a long text that is folded away."""
        self._parts.append(
            f'<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>'
        )

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]], name: str | None = None) -> None:
        """Add a table, with a ``name`` also as ``NAME.csv``; numbers are shown with four digits."""
        head = ''.join(f'<th>{html.escape(cell)}</th>' for cell in header)
        body = ''.join(
            '<tr>' + ''.join(f'<td>{html.escape(_shown(cell))}</td>' for cell in row) + '</tr>' for row in rows
        )
        self._parts.append(f'<table><tr>{head}</tr>{body}</table>')
        if name:
            self.csv(name, header, rows)

    def csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write ``NAME.csv`` beside the page."""
        with written_whole(self.folder / f'{name}.csv') as temporary, temporary.open('w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)

    def plot(self, name: str, figure: Figure) -> None:
        """Add a plot, also as ``NAME.png``."""
        with written_whole(self.folder / f'{name}.png') as temporary:
            figure.savefig(temporary, dpi=_DPI)
        self._picture((self.folder / f'{name}.png').read_bytes(), 'png', '')

    def picture(self, image: np.ndarray, caption: str) -> None:
        """Add an image (H, W, 3) uint8 RGB."""
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, 'JPEG', quality=88)
        self._picture(buffer.getvalue(), 'jpeg', caption)

    def _picture(self, data: bytes, kind: str, caption: str) -> None:
        source = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
        text = html.escape(caption)
        self._parts.append(f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>')

    def write(self, name: str) -> Path:
        """Write the page, and return its path."""
        path = self.folder / name
        head = f'<meta charset="utf-8"><title>{self._title}</title><style>{_STYLE}</style>'
        with written_whole(path) as temporary:
            temporary.write_text(f'<!doctype html>\n{head}\n' + '\n'.join(self._parts) + '\n', encoding='utf-8')
        return path


def _shown(cell: Any) -> str:
    if isinstance(cell, float | np.floating):
        return '-' if np.isnan(cell) else f'{cell:.4g}'
    return str(cell)
