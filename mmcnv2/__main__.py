"""``python -m mmcnv2`` is the command ``mmcnv2``."""

from mmcnv2.cli import main

if __name__ == '__main__':
    main()
