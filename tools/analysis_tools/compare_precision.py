"""The same as ``mmcnv2 compare-precision``."""

from mmcnv2.cli import run_command

if __name__ == '__main__':
    run_command('compare-precision')
