"""List the recipes of the package, with the paper's figure of each.

Use a recipe by its name: mmcnv2 train mmcnv2::FOLDER/NAME.py, or _base_ = 'mmcnv2::FOLDER/NAME.py' in your own config.
--path prints the paths of the files.
"""

import argparse

EXAMPLES = ("'upernet*base*'", 'fcmae --path')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('pattern', nargs='?', default='', help='part of a name, or a pattern with * and ?')
    parser.add_argument('--path', action='store_true', help='print the paths of the files instead')


def run(args: argparse.Namespace) -> None:
    from mmcnv2.recipes import RECIPES, find_recipes, paper_figures

    names = find_recipes(args.pattern)
    figures = {} if args.path else paper_figures()
    width = max(map(len, names))
    for name in names:
        print(RECIPES / name if args.path else f'{name:{width}}  {figures.get(name, "")}'.rstrip())
