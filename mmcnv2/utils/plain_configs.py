"""Configs that are data: read without running them, written without what only one machine has.

MMEngine runs a config file as Python. One from the hub is read here instead, so that it runs nothing.
"""

import ast
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from mmengine.config import Config

from .errors import InputError

_LIBRARIES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'mmcnv2')
# A name in a registry, or a class of a library. MMEngine would import and call any other function that has a dot.
_COMPONENT = re.compile(rf'\w+|({"|".join(_LIBRARIES)})\.[A-Z]\w*')
# Of the machine and of the run: folders, accounts of trackers, what to start from and go on with.
_OF_A_RUN = ('work_dir', 'load_from', 'resume', 'launcher', 'vis_backends', 'visualizer', 'custom_imports')
_LOCAL = re.compile(r'(file://)?[/~]|[A-Za-z]:\\')


def parse_plain_config(text: str, name: str) -> dict[str, Any]:
    """Read a config of plain values, ``NAME = VALUE`` with literals and ``dict(...)``, without running it.

    Args:
        text: Of the config, as ``Config.pretty_text`` writes it.
        name: What messages call it.

    Raises:
        InputError: It has something else in it, or ``type`` names what is no component of OpenMMLab.
    """
    settings = parse_plain_values(text, name)
    _check_components(settings, name)
    return settings


def parse_plain_values(text: str, name: str) -> dict[str, Any]:
    """Read a config of plain values to look something up in it: as ``parse_plain_config``, with any ``type``."""
    settings: dict[str, Any] = {}
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(key)], value=value):
                    settings[key] = _value(value)
                case _:
                    raise ValueError(f'line {statement.lineno}: {ast.unparse(statement).splitlines()[0]}')
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(f'{name} is no plain config, and running it could do anything: {error}') from error
    return settings


def portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a config without what only the machine of the run has.

    Left out are the work dir, trackers and what the run started from or went on with. Of absolute paths the last part
    stays: '/home/me/coco/' becomes 'coco/'.
    """
    kept = {key: value for key, value in settings.items() if key not in _OF_A_RUN}
    return _replaced(kept, lambda text: _last_part(text) if _LOCAL.match(text) else text)


def dump_plain_config(settings: dict[str, Any]) -> str:
    """Return the text of a config, which ``parse_plain_config`` reads back.

    Raises:
        InputError: It has values that are not plain.
    """
    text = Config(settings).pretty_text
    if parse_plain_config(text, 'the config') != settings:
        raise InputError('the config has values that are not plain: only numbers, texts, lists, tuples, dicts')
    return text


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name('dict'), args=[], keywords=keywords):
            found: dict[Any, Any] = {}
            for keyword in keywords:
                found.update(_value(keyword.value) if keyword.arg is None else {keyword.arg: _value(keyword.value)})
            return found
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_value(key): _value(value) for key, value in zip(keys, values, strict=True)}  # type: ignore[arg-type]
        case ast.List(elts=elements):
            return [_value(element) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_value(element) for element in elements)
    return ast.literal_eval(node)  # a ValueError if it is more than that


def _check_components(value: Any, name: str, key: str = '') -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_components(inner, name, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_components(inner, name)
    elif key == 'type' and isinstance(value, str) and not _COMPONENT.fullmatch(value):
        raise InputError(f'{name}: type={value!r} is no component of {", ".join(_LIBRARIES)}')
    elif key in ('default_scope', '_scope_') and value is not None and value not in _LIBRARIES:
        raise InputError(f'{name}: {key} must be one of {", ".join(_LIBRARIES)}, got {value!r}')


def _replaced(value: Any, replace: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, replace) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(inner, replace) for inner in value)
    return replace(value) if isinstance(value, str) else value


def _last_part(path: str) -> str:
    name = PurePosixPath(path.replace('\\', '/')).name
    return f'{name}/' if path.endswith('/') else name
