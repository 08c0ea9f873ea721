"""Which OpenMMLab packages mmcnv2 works with, and a check that they are installed.

The originals (``mmcv``, ``mmdet``...) and their maintained successors (``onedl-mmcv``, ``onedl-mmdetection``...) share
import names, so the installed module counts, not the name of its distribution.
"""

from __future__ import annotations

import importlib
import importlib.util
import runpy
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.version import Version


class Requirement(NamedTuple):
    """An OpenMMLab package: its import name, the versions that fit and what to install."""

    module: str
    minimum: str
    below: str
    distribution: str

    @property
    def versions(self) -> SpecifierSet:
        """The versions that fit. A pre-release counts as its release."""
        return SpecifierSet(f'>={self.minimum},<{self.below}')


REQUIREMENTS = (
    Requirement('mmengine', '0.10.0', '1.0.0', 'onedl-mmengine'),
    Requirement('mmcv', '2.1.0', '3.0.0', 'onedl-mmcv'),
    Requirement('mmdet', '3.3.0', '4.0.0', 'onedl-mmdetection'),
    Requirement('mmseg', '1.2.2', '2.0.0', 'onedl-mmsegmentation'),
)


_WITH_MODELS = ('mmdet', 'mmseg')


def check_dependencies(without_models: bool = False) -> None:
    """Check that the OpenMMLab packages are installed in versions that fit.

    Args:
        without_models: Whether the packages that have models may be missing: a whole model in ONNX needs none.

    Raises:
        ImportError: If one is missing, too old or too new. The message names every such package, the version found,
            the versions that fit and the command that installs one.
    """
    found = {requirement: _problem(requirement) for requirement in REQUIREMENTS}
    problems = [line for lines in found.values() for line in lines]
    may_be_missing = [r for r in found if without_models and r.module in _WITH_MODELS]
    if any(lines for r, lines in found.items() if r not in may_be_missing or installed_version(r.module)):
        raise ImportError('\n'.join(['mmcnv2 needs other OpenMMLab packages:', *problems]))


def installed_version(module: str) -> str | None:
    """Return the version of a module, or None if it is not installed.

    OpenMMLab modules keep it in ``version.py``, which is run on its own: importing mmcv takes seconds.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # a mere folder of that name has no origin
        return None
    version_file = Path(spec.origin).with_name('version.py')
    if version_file.exists():
        return str(runpy.run_path(str(version_file))['__version__'])
    return str(importlib.import_module(module).__version__)


def _problem(requirement: Requirement) -> list[str]:
    module, minimum, below, distribution = requirement
    found = installed_version(module)
    if found is not None and Version(found).base_version in requirement.versions:
        return []
    command = f"pip install '{distribution}>={minimum},<{below}'"
    if module == 'mmcv':  # without the option pip builds it without its operators
        command = command.replace('install', 'install --no-build-isolation')
    originals = set(packages_distributions().get(module, [])) - {distribution}
    if found is not None and originals:  # one would overwrite the other's files
        command = f'pip uninstall -y {" ".join(sorted(originals))} && {command}'
    state = 'is missing' if found is None else f'{found} does not fit'
    return [f'  {module} {state} (needed: >={minimum}, <{below}): {command}']
