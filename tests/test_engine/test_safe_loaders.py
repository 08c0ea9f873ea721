"""How MMEngine's ways to read are replaced. What the replacements refuse is in test_preflight/."""

import sys

import pytest
from helpers.launching import launch

IMPORT_LATER = """
from mmengine.config import Config
from mmcnv2.engine.safe_loaders import install_safe_loaders

install_safe_loaders(Config(dict(default_scope='{scope}')))
import {scope}.datasets
from {scope}.registry import TRANSFORMS

print(TRANSFORMS.get('LoadImageFromFile').__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain'])
def test_the_library_may_be_imported_later(root, scope):
    """mmpretrain registers the name as well, and must not find ours there."""
    done = launch(root, sys.executable, '-c', IMPORT_LATER.format(scope=scope))
    assert done.stdout.split()[-1] == 'LoadCheckedImage'
