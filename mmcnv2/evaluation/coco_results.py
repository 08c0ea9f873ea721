import os
import shutil
import tempfile
from collections.abc import Sequence

from mmdet.evaluation import CocoMetric
from mmengine.logging import print_log

from mmcnv2.utils.files import written_whole


class CocoResults(CocoMetric):
    """Write the predictions of a detector as one file of COCO's results.

    Each has ``image_id``, ``category_id``, ``bbox`` and ``score`` and, of a detector with masks, ``segmentation``.
    Without an annotation file ``CocoMetric`` numbers the categories itself; here they are always those of the file.

    Args:
        path: The file to write.
        ann_file: The annotations of the data set, which say which ids images and categories have.
    """

    def __init__(self, path: str, ann_file: str) -> None:
        super().__init__(ann_file=ann_file, format_only=True, outfile_prefix=path)

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Write the file; mmdet has one for boxes and one for masks, which has the boxes as well."""
        with tempfile.TemporaryDirectory() as folder, written_whole(outfile_prefix) as path:
            files = super().results2json(results, os.path.join(folder, 'results'))
            shutil.copyfile(files.get('segm', files['bbox']), path)
        print_log(f'COCO results are in {outfile_prefix}', 'current')
        return files
