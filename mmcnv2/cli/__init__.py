"""The command line: ``mmcnv2 COMMAND``, one module of this folder per command.

A command's module has a docstring (its help, whose first line is in the overview), ``EXAMPLES`` (arguments of two
calls), ``add_arguments(parser)`` and ``run(args)``. It imports torch and OpenMMLab in ``run`` only, so that ``--help``
appears at once. The scripts in ``tools/`` call ``run_command``: they are the same code.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from mmcnv2.version import __version__

from .errors import errors_in_one_line

GROUPS = {
    'train and evaluate': ('train', 'test', 'predict', 'demo', 'serve', 'report', 'browse', 'check', 'configs'),
    'judge a representation': ('knn', 'linear', 'diversity', 'embed'),
    'weights': ('convert', 'export', 'publish'),
    'data': ('init', 'stats', 'make-toy-scenes', 'make-shards', 'index-shards'),
    'analysis': (
        *('get-flops', 'benchmark-pretrain', 'benchmark-backbone', 'benchmark-data', 'benchmark-ddp'),
        *('benchmark-export', 'benchmark-serve', 'profile-pretrain', 'scaling-model', 'steady-state'),
        'compare-precision',
    ),
}
COMMANDS = tuple(command for commands in GROUPS.values() for command in commands)


def main() -> None:
    """Run the command that the arguments of the process name."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        run_command(arguments[0], arguments[1:], f'mmcnv2 {arguments[0]}')
        return
    parser = argparse.ArgumentParser(
        'mmcnv2',
        usage='mmcnv2 COMMAND [arguments]',
        description='ConvNeXt V2 and FCMAE pre-training for OpenMMLab.\n\n' + _overview(),
        epilog=_examples('mmcnv2', ['train mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py', 'train --help']),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmcnv2 {__version__}')
    if arguments and not arguments[0].startswith('-'):
        nearest = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f'; did you mean {nearest[0]}?' if nearest else ''
        parser.error(f'no command {arguments[0]!r}{hint} (mmcnv2 --help lists them)')
    parser.parse_args(arguments or ['--help'])


def run_command(command: str, arguments: Sequence[str] | None = None, program: str | None = None) -> None:
    """Run a command; bad input ends the process with one line and exit code 1.

    Args:
        command: One of ``COMMANDS``.
        arguments: Arguments of the command; None: those of the process.
        program: Name of the command in its help; None: as the process was started.
    """
    parser = command_parser(command, program or f'python {sys.argv[0]}')
    args = parser.parse_args(arguments)
    with errors_in_one_line():
        _module(command).run(args)


def command_parser(command: str, program: str) -> argparse.ArgumentParser:
    """Return the parser of a command, whose help begins with the name of the program."""
    module = _module(command)
    parser = argparse.ArgumentParser(
        program,
        description=module.__doc__,
        epilog=_examples(program, module.EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser


def _module(command: str) -> ModuleType:
    return import_module(f'{__name__}.{command.replace("-", "_")}')


def _overview() -> str:
    width = max(map(len, COMMANDS))
    return '\n\n'.join(
        f'{group}:\n' + '\n'.join(f'  {command:{width}}  {_summary(command)}' for command in commands)
        for group, commands in GROUPS.items()
    )


def _summary(command: str) -> str:
    return str(_module(command).__doc__).splitlines()[0].rstrip('.:')


def _examples(program: str, calls: Sequence[str]) -> str:
    return '\n'.join(['examples:', *(f'  {program} {call}' for call in calls)])
