"""The configs of the repository. Reading one takes a tenth of a second, so a run of the tests reads each once."""

import copy
import functools
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)


@functools.cache
def _read(path: Path) -> Config:
    cfg = Config.fromfile(path)
    # Without yapf, which takes seconds to format what a runner logs. (``fromfile`` does not pass the argument on.)
    return Config(cfg.to_dict(), filename=cfg.filename, format_python_code=False)


def load(path: Path) -> Config:
    """Return a copy of the config, which a test may change."""
    return copy.deepcopy(_read(path))
