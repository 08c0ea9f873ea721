"""Checks that name what is missing or wrong before anything is built or computed."""

from .annotations import check_annotations
from .checkpoints import check_checkpoint, check_pretrained
from .paths import check_dataset_paths
from .settings import check_settings

__all__ = ['check_annotations', 'check_checkpoint', 'check_dataset_paths', 'check_pretrained', 'check_settings']
