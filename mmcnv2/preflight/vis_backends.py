"""Check what the visualizer's backends need: TensorBoard, Weights & Biases, MLflow."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib.util import find_spec

from mmengine.config import Config

from mmcnv2.engine.vis_backends import mlflow_server
from mmcnv2.utils.errors import ConfigError, MissingPackageError

# Both the package that is imported and the extra of this package.
_PACKAGES = dict(TensorboardVisBackend='tensorboard', WandbVisBackend='wandb', MLflowVisBackend='mlflow')
_TIMEOUT = 10  # seconds


def check_vis_backends(cfg: Config) -> None:
    """Check that the packages of the backends are installed, and that an MLflow server answers.

    Raises:
        MissingPackageError: Names the setting and the extra to install.
        ConfigError: A backend is text instead of a dict, or no server answers; names the setting.
    """
    visualizer = cfg.get('visualizer')
    backends = visualizer.get('vis_backends') if isinstance(visualizer, Mapping) else None
    for i, backend in enumerate(backends or []):
        setting = f'visualizer.vis_backends.{i}'
        if isinstance(backend, str):
            raise ConfigError(
                f'{setting} is {backend!r}, expected a dict. --cfg-options cannot write one: set it in a config file '
                '(docs/how_to/track.md)'
            )
        kind = backend.get('type') if isinstance(backend, Mapping) else type(backend)
        name = (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).rpartition('.')[2]
        package = _PACKAGES.get(name)
        if package and not _is_installed(package):
            raise MissingPackageError(f"{setting}: {name} needs {package}: pip install 'mmcnv2[{package}]'")
        if package == 'mlflow' and isinstance(backend, Mapping):
            _check_server(setting, mlflow_server(backend.get('tracking_uri')))


def _is_installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # a folder `wandb`, which W&B leaves, has none


def _check_server(setting: str, address: str) -> None:
    """Ask the server for anything; also a refusal is an answer. MLflow itself would try for minutes."""
    if not address.startswith(('http://', 'https://')):
        return  # files, a database, Databricks
    try:
        urllib.request.urlopen(f'{address.rstrip("/")}/health', timeout=_TIMEOUT).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, 'reason', error)
        raise ConfigError(
            f'{setting}.tracking_uri: no MLflow server answers at {address} ({reason}): start one there with '
            '`mlflow server`, or set MLFLOW_TRACKING_URI'
        ) from error
