"""The libraries' inference of one array, then of one path, with the same model.

``inference_detector`` (mmdet) and ``inference_model`` (mmseg) write how an array is loaded into the config of the
model, so that after an array they take no path. Given a copy, they leave the config as it is.
"""

import copy
from types import ModuleType, SimpleNamespace
from typing import Any

from wrapt import register_post_import_hook


def keep_test_pipelines() -> None:
    """Let the libraries change a copy of the test pipeline, from when their modules of inference are imported."""
    register_post_import_hook(_copy_in_mmdet, 'mmdet.apis.inference')
    register_post_import_hook(_copy_in_mmseg, 'mmseg.apis.inference')


def _copy_in_mmdet(inference: ModuleType) -> None:
    get = inference.get_test_pipeline_cfg
    inference.get_test_pipeline_cfg = lambda cfg: copy.deepcopy(get(cfg))  # type: ignore[attr-defined]


def _copy_in_mmseg(inference: ModuleType) -> None:
    prepare = inference._preprare_data

    def prepare_with_copy(images: Any, model: Any) -> Any:
        return prepare(images, SimpleNamespace(cfg=copy.deepcopy(model.cfg)))  # all that it reads of the model

    inference._preprare_data = prepare_with_copy  # type: ignore[attr-defined]  # the name in mmseg
