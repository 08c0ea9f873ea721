"""The recipes shipped with the package: the folder ``configs/``, inside the package as ``.mim/configs``.

MMEngine finds ``_base_ = 'mmcnv2::...'`` there once ``register_recipes`` has been called, which importing ``mmcnv2``
does.
"""

import difflib
import fnmatch
from pathlib import Path

import yaml
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmcnv2.utils.dependencies import check_dependencies
from mmcnv2.utils.errors import ConfigError, MissingFileError
from mmcnv2.utils.hub import hub_config, is_hub
from mmcnv2.utils.plain_configs import parse_plain_config

RECIPES = Path(__file__).parent / '.mim' / 'configs'


_find_base = Config._get_cfg_path


def register_recipes() -> None:
    """Let MMEngine find ``mmcnv2::`` and ``mmseg::`` configs, as bases and in ``mmengine.hub.get_config``.

    Its table lacks mmcnv2, and maps mmseg to a distribution, of which there are several. By the name of the module it
    finds any of them.
    """
    MODULE2PACKAGE.update(mmcnv2='mmcnv2', mmseg='mmseg')
    Config._get_cfg_path = staticmethod(_find_base_or_recipe)


def _find_base_or_recipe(base: str, filename: str) -> tuple[str, str | None]:
    """Return path and scope of a base; a recipe has no scope, as if it were a file beside the config.

    MMEngine's scope is the name of the package, in which it then looks for every ``type`` of the base. Those of a
    recipe are mmdet's, mmseg's or mmpretrain's: it states its own ``default_scope``.
    """
    if base.startswith('mmcnv2::'):
        return recipe_path(base), None
    return _find_base(base, filename)


def list_recipes() -> list[str]:
    """Return the names of all recipes, ``folder/NAME.py``, sorted."""
    files = (path.relative_to(RECIPES) for path in RECIPES.rglob('*.py'))
    return sorted(str(file) for file in files if file.parts[0] != '_base_')


def find_recipes(pattern: str) -> list[str]:
    """Return the recipes whose name matches.

    Args:
        pattern: Part of ``folder/NAME.py``, or with ``*`` and ``?`` a pattern for all of it; '' matches every recipe.

    Raises:
        ConfigError: If none matches.
    """
    if not any(character in pattern for character in '*?['):
        pattern = f'*{pattern}*'
    found = fnmatch.filter(list_recipes(), pattern)
    if not found:
        raise ConfigError(f'no recipe matches {pattern!r}{similar_recipe(pattern)}')
    return found


def paper_figures() -> dict[str, str]:
    """Return the paper's figure of each recipe that has one, e.g. 'top-1 84.9 (table 4)', from the metafiles."""
    figures = {}
    for path in RECIPES.glob('*/metafile.yml'):
        for model in yaml.safe_load(path.read_text(encoding='utf-8'))['Models']:
            if figure := model['Metadata'].get('Figure in Paper'):
                figures[model['Config'].removeprefix('configs/')] = figure
    return figures


def recipe_path(name: str) -> str:
    """Return the path of a recipe.

    Args:
        name: ``folder/NAME.py``; folder, ending and a leading ``mmcnv2::`` may be left out. Also files of ``_base_``.

    Raises:
        ConfigError: If there is none of this name; it names the nearest one.
        ImportError: If mmdet or mmseg, which recipes are of, is missing.
    """
    check_dependencies()
    wanted = name.removeprefix('mmcnv2::').removesuffix('.py') + '.py'
    if (RECIPES / wanted).is_file():
        return str(RECIPES / wanted)
    found = [recipe for recipe in list_recipes() if Path(recipe).name == wanted]
    if len(found) == 1:
        return str(RECIPES / found[0])
    raise ConfigError(f'no recipe {name!r}{similar_recipe(wanted)} (mmcnv2 configs lists them)')


def read_config_file(name: str) -> Config:
    """Read a config: a file, a recipe of the package after ``mmcnv2::``, or that of a model on the hub.

    The last is read as data (``parse_plain_config``): what is in it does not run.

    Raises:
        InputError: If there is none, with the name of the nearest recipe, or it is not a valid config.
        ImportError: If mmdet or mmseg, which has the models of configs, is missing.
    """
    check_dependencies()
    if is_hub(name):
        file = hub_config(name)
        return Config(parse_plain_config(file.read_text(encoding='utf-8'), f'{name}: {file.name}'), filename=file)
    path = recipe_path(name) if name.startswith('mmcnv2::') else name
    if not Path(path).is_file():
        raise ConfigError(f'config file not found: {path}{similar_recipe(path)}')
    try:
        return Config.fromfile(path)
    except Exception as error:
        raise ConfigError(f'config {name} cannot be read: {type(error).__name__}: {error}') from error


def similar_recipe(name: str) -> str:
    """Return the end of a sentence that names the recipe whose file name is nearest, '' if none is near."""
    by_name = {Path(recipe).name: recipe for recipe in list_recipes()}
    nearest = difflib.get_close_matches(Path(name).name, by_name, n=1, cutoff=0.3)
    return f'; did you mean mmcnv2::{by_name[nearest[0]]}?' if nearest else ''


def config_of_work_dir(work_dir: Path) -> Path:
    """Return the config that a training has left in its work dir, the newest of several.

    Raises:
        MissingFileError: There is none.
    """
    newest = max(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise MissingFileError(f'{work_dir} has no config (*.py): give the work dir of a training')
    return newest
