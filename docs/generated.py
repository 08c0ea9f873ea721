"""A Sphinx extension that fills in what pages take from the code, so that it is written once.

A comment on a line of its own is replaced when the site is built:

    <!-- generated: commands -->                the help of every command
    <!-- generated: components -->              every registered component, with its arguments
    <!-- generated: module mmcnv2.apis -->      what a module exports, with its docstrings
    <!-- generated: readme Some heading -->     a section of README.md, which is no page of the site

Links to the Markdown files beside ``docs/`` become plain text.
"""

import os
import pkgutil
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from mmengine.registry import Registry
from sphinx.application import Sphinx

from mmcnv2 import registry
from mmcnv2.cli import GROUPS, command_parser

# Their modules import mmdet, mmseg and mmpretrain, so that the registry imports them when asked for a class only.
WITH_LIBRARY = ('mmcnv2.models.data_preprocessors', 'mmcnv2.models.heads')
COMMENT = re.compile(r'^<!-- generated: (\w+) ?(.*?) -->$', re.MULTILINE)
OUTSIDE = re.compile(r'\[([^\]]+)\]\((?:\.\./)+[A-Z]+\.md[^)]*\)')


def commands() -> str:
    """Return a section for each group of commands, and in it the help of each."""
    with patch.dict(os.environ, COLUMNS='86', NO_COLOR='1'):
        return '\n'.join(
            f'\n## {group.capitalize()}\n' + '\n'.join(map(_help, group_commands))
            for group, group_commands in GROUPS.items()
        )


def _help(command: str) -> str:
    parser = command_parser(command, f'mmcnv2 {command}')
    # As prose, since its lines are wider than a block on the page; nothing in it but ``code`` is Markdown.
    prose = re.sub(r'(``.+?``)|([*_<\[\\])', lambda found: found[1] or f'\\{found[2]}', parser.description or '')
    parser.description = None
    return f'\n### mmcnv2 {command}\n\n{prose}\n\n```text\n{parser.format_help()}```\n'


def components() -> str:
    """Return a section for each registry: the classes that this package registers, and what they inherit from it."""
    for package in WITH_LIBRARY:
        for found in pkgutil.iter_modules(import_module(package).__path__, f'{package}.'):
            import_module(found.name)
    sections = []
    for found in vars(registry).values():
        if isinstance(found, Registry) and found.scope == 'mmcnv2':
            found.import_from_location()
            classes = {base for component in found.module_dict.values() for base in component.__mro__}
            ours = sorted(f'{c.__module__}.{c.__name__}' for c in classes if c.__module__.startswith('mmcnv2.'))
            title = found.name[0].upper() + found.name[1:]
            sections.append(f'\n## {title}\n\n' + _rst(f'.. autoclass:: {name}' for name in ours))
    return '\n'.join(sections)


def module(name: str) -> str:
    """Return what a module exports: ``__all__``, or else its public classes and functions."""
    options = '   :members:\n' + ('   :imported-members:\n' if hasattr(import_module(name), '__all__') else '')
    return _rst([f'.. automodule:: {name}\n{options}'])


def readme(heading: str) -> str:
    """Return a section of README.md without its heading; its links are as from a sub-folder of ``docs/``."""
    text = (Path(__file__).parents[1] / 'README.md').read_text()
    section = text.split(f'\n## {heading}\n', 1)[1].split('\n## ', 1)[0]
    return section.replace('](docs/', '](../')


def _rst(directives: Iterable[str]) -> str:
    return '```{eval-rst}\n' + '\n\n'.join(directives) + '\n```\n'


def fill_in(_: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the comments of a page by what they name."""
    names = dict(commands=commands, components=components, module=module, readme=readme)
    source[0] = OUTSIDE.sub(r'\1', source[0])
    source[0] = COMMENT.sub(lambda found: names[found[1]](*filter(None, [found[2]])), source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect('source-read', fill_in)
    return {'parallel_read_safe': True}
