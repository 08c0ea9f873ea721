"""MMEngine's backends for MLflow and Weights & Biases, where these lose pictures or send too much."""

import os
import re
from typing import Any

import mmengine.visualization as mmengine
import numpy as np
from mmengine.config import Config
from mmengine.visualization.vis_backend import force_init_env

from mmcnv2.registry import VISBACKENDS

from .sparing import spare


def mlflow_server(tracking_uri: str | None) -> str:
    """Return the address of the MLflow server: as given, or ``MLFLOW_TRACKING_URI``, or that of ``mlflow server``."""
    return tracking_uri or os.environ.get('MLFLOW_TRACKING_URI') or 'http://127.0.0.1:5000'


@VISBACKENDS.register_module()
class MLflowVisBackend(mmengine.MLflowVisBackend):
    """MMEngine's backend for MLflow, which keeps the images of all steps.

    MMEngine's names the file of an image as the image, which has no ending: MLflow refuses it. With one, each step
    would overwrite the step before.

    Where the server fails it warns once, and the run goes on.

    Args:
        save_dir: The folder of the run's other backends.
        tracking_uri: Address of the server. None: ``MLFLOW_TRACKING_URI``, or ``http://127.0.0.1:5000``.
        **kwargs: Of MMEngine's backend, e.g. ``exp_name``, ``run_name``, ``tags``.
    """

    def __init__(self, save_dir: str, tracking_uri: str | None = None, **kwargs: Any) -> None:
        super().__init__(save_dir, tracking_uri=mlflow_server(tracking_uri), **kwargs)
        # Seven would stop the training for four minutes, at every call, once the server is gone.
        os.environ.setdefault('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '1')
        spare(self, ('add_', 'close'))

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an RGB image; characters of the name that MLflow does not take become ``_``."""
        key = re.sub(r'[^a-zA-Z0-9_\-./ ]', '_', name)
        self._mlflow.log_image(image, key=key, step=step, synchronous=True)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a value."""
        self.add_scalars({name: value}, step)

    @force_init_env
    def add_scalars(self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs: Any) -> None:
        """Record values. MMEngine's would warn each time that the server fails."""
        self._mlflow.log_metrics(scalar_dict, step)


@VISBACKENDS.register_module()
class WandbVisBackend(mmengine.WandbVisBackend):
    """MMEngine's backend for Weights & Biases, without the code.

    MMEngine's uploads every Python file below the working directory, those of a virtual environment too.
    """

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Record the settings; a run that goes on may have others than before."""
        self._wandb.config.update(config.to_dict(), allow_val_change=True)
