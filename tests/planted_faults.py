"""Plants faults in the package, one at a time in a copy of the repository, and looks whether the tests find them.

    python tests/planted_faults.py [NAME...]

Prints a Markdown table and ends with exit code 1 if a fault is not found. Where the tests are shortened or shared,
this shows that they still find what they found.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Fault(NamedTuple):
    """A text in a file of the package, another one in its place, and the tests that should find it."""

    file: str
    right: str
    wrong: str
    tests: str


LAYERS, SPARSE, FCMAE = (
    'test_models/test_layers',
    'test_models/test_sparse',
    'test_models/test_pretraining/test_fcmae.py',
)
WEIGHTS, BAD, TRANSFORMS = 'test_models/test_weights', 'test_bad_input', 'test_datasets/test_transforms'
BACKBONE = 'test_models/test_backbones/test_convnextv2.py'
DENSE = f'{SPARSE}/test_backends.py -k dense'
LOOPS = 'test_resuming/test_loops.py'
JUDGES = 'test_evaluation'
WORKER, APP = 'test_serve/test_worker.py', 'test_serve/test_app.py'

FAULTS = {
    # ---- models ----
    'GRN: another eps': Fault('models/layers/grn.py', 'self.eps = eps', 'self.eps = 1e-3', f'{LAYERS}/test_grn.py'),
    'GRN: mean over the batch, not the channels': Fault(
        'models/layers/grn.py',
        'norm.mean(dim=-1, keepdim=True)',
        'norm.mean(dim=0, keepdim=True)',
        f'{LAYERS}/test_grn.py',
    ),
    'GRN: norm over the batch': Fault(
        'models/layers/grn.py', 'range(1, x.ndim - 1)', 'range(x.ndim - 1)', f'{LAYERS}/test_grn.py'
    ),
    'GRN in one function: gradient of its mean is lost': Fault(
        'models/layers/mlp.py',
        'dresponse - (dresponse * response).mean(dim=-1, keepdim=True)',
        'dresponse',
        f'{LAYERS}/test_mlp.py',
    ),
    'removed positions are seen by the convolution': Fault(
        'models/sparse/layout.py', 'depthwise_conv(self._keep_visible(x), conv)', 'depthwise_conv(x, conv)', DENSE
    ),
    'removed positions count in the norm of GRN': Fault(
        'models/layers/mlp.py', 'a if removed is None else a.masked_fill_(removed, 0)', 'a', DENSE
    ),
    'tokens are gathered from other rows': Fault(
        'models/sparse/layout.py', 'rows = token_row * w +', 'rows = token_row * h +', f'{SPARSE}/test_layout.py'
    ),
    'triton: the kernel of the gradient is not turned': Fault(
        'models/sparse/backends/triton.py', 'taps.flip(0)', 'taps', f'{SPARSE}/test_backends.py -k triton-small'
    ),
    'depthwise gradient is a mean over the batch': Fault(
        'models/layers/depthwise.py',
        'view(n, *weight.shape).sum(dim=0)',
        'view(n, *weight.shape).mean(dim=0)',
        f'{LAYERS}/test_depthwise.py',
    ),
    'pixels of a patch in another order': Fault(
        'models/pretraining/fcmae.py', 'x.permute(0, 2, 4, 3, 5, 1)', 'x.permute(0, 2, 4, 5, 3, 1)', FCMAE
    ),
    'loss over all patches': Fault(
        'models/pretraining/fcmae.py',
        'removed = patch_indices(mask)',
        'removed = patch_indices(torch.ones_like(mask))',
        FCMAE,
    ),
    'targets normalised over the image': Fault(
        'models/pretraining/fcmae.py',
        'patches.mean(dim=-1, keepdim=True)',
        'patches.mean(dim=(1, 2), keepdim=True)',
        FCMAE,
    ),
    'loss in reduced precision': Fault(
        'models/pretraining/fcmae.py', '.to(torch.promote_types(pixels.dtype, torch.float32))', '', FCMAE
    ),
    'initial std of 1': Fault(
        'models/backbones/skeleton.py',
        'trunc_normal_(module.weight, std=0.02)',
        'trunc_normal_(module.weight, std=1.0)',
        f'{FCMAE} -k initial',
    ),
    'frozen stages train': Fault(
        'models/backbones/skeleton.py', '            module.requires_grad_(False)\n', '', BACKBONE
    ),
    'drop path falls with depth': Fault(
        'models/backbones/skeleton.py',
        'torch.linspace(0, drop_path_rate,',
        'torch.linspace(drop_path_rate, 0,',
        BACKBONE,
    ),
    'number of visible patches is cut by rounding': Fault(
        'models/sparse/mask.py', '(1 - mask_ratio) + 1e-6)', '(1 - mask_ratio))', f'{SPARSE}/test_mask.py'
    ),
    'ranks draw the same masks': Fault('models/sparse/mask.py', ' + get_rank()', '', f'{SPARSE}/test_mask.py'),
    # ---- weights ----
    'GRN of official checkpoints keeps its shape': Fault(
        'models/layers/grn.py',
        'state_dict[key].flatten()',
        'state_dict[key]',
        f'{LAYERS}/test_grn.py {WEIGHTS}/test_pretrained.py',
    ),
    'gamma and beta of timm are exchanged': Fault(
        'models/weights/formats.py',
        "(r'grn\\.gamma$', 'mlp.grn.weight'),\n    (r'grn\\.beta$', 'mlp.grn.bias'),",
        "(r'grn\\.gamma$', 'mlp.grn.bias'),\n    (r'grn\\.beta$', 'mlp.grn.weight'),",
        f'{WEIGHTS}/test_pretrained.py',
    ),
    'sparse kernels are not transposed': Fault(
        'models/weights/formats.py',
        '.unflatten(2, (k, k)).mT',
        '.unflatten(2, (k, k))',
        f'{WEIGHTS}/test_pretrained.py',
    ),
    'stem for more channels is not scaled': Fault(
        'models/weights/pretrained.py',
        '[:, :channels] * (given / channels)',
        '[:, :channels]',
        f'{WEIGHTS}/test_pretrained.py',
    ),
    'deeper checkpoints are accepted': Fault(
        'models/weights/matching.py', 'if name(key) in given)', 'if False)', f'{WEIGHTS}/test_pretrained.py {BACKBONE}'
    ),
    'pickles are allowed': Fault(
        'models/weights/reading.py', '    if allow_pickle:\n', '    if True:\n', f'{BAD}/test_checkpoints.py'
    ),
    # ---- datasets ----
    'EXIF 6 turns the wrong way': Fault(
        'datasets/images.py',
        '6: (True, True, False)',
        '6: (True, False, True)',
        f'{BAD}/test_images.py -k exif',
    ),
    '16 bits are clipped': Fault(
        'datasets/images.py', '(values >> 8)', 'np.minimum(values, 255)', f'{BAD}/test_images.py -k read'
    ),
    'bands keep the order of the file': Fault(
        'datasets/bands.py',
        'pixels[..., list(self.bands)]',
        'pixels[..., sorted(self.bands)]',
        'test_datasets/test_bands.py',
    ),
    'deviation of an image counts as that of all': Fault(
        'datasets/statistics.py', ' + difference**2 * count * wide.size / total', '', 'test_cli/test_stats.py'
    ),
    'no antialiasing': Fault(
        'datasets/transforms/random_resized_crop.py',
        'antialias=True',
        'antialias=False',
        f'{TRANSFORMS}/test_random_resized_crop.py',
    ),
    'aspect ratio upside down': Fault(
        'datasets/transforms/random_resized_crop.py',
        'math.sqrt(area / aspect)',
        'math.sqrt(area)',
        f'{TRANSFORMS}/test_random_resized_crop.py',
    ),
    'index of shards is off by one': Fault(
        'datasets/shards.py',
        'info.offset_data, info.size)',
        'info.offset_data + 1, info.size)',
        'test_datasets/test_shards.py',
    ),
    'parts of ranks overlap': Fault(
        'datasets/samplers.py',
        'self.rank * self.num_samples',
        'self.rank * (self.num_samples - 1)',
        'test_datasets/test_samplers.py',
    ),
    'one more unreadable file is allowed': Fault(
        'datasets/unlabelled_images.py',
        'self.num_unreadable > self.max_unreadable',
        'self.num_unreadable > self.max_unreadable + 1',
        'test_datasets/test_unlabelled_images.py',
    ),
    'label 255 is moved, too': Fault(
        'datasets/transforms/label_map.py',
        '(labels == 0) | (labels == IGNORED)',
        'labels == 0',
        f'{BAD}/test_label_maps.py',
    ),
    'label maps of another size': Fault(
        'datasets/transforms/label_map.py',
        'mode in _MODES and size == shape[::-1]',
        'mode in _MODES',
        f'{BAD}/test_label_maps.py',
    ),
    # ---- resuming ----
    'samples are seeded without the epoch': Fault(
        'resuming/sampler.py', '(self.seed, self.epoch, position', '(self.seed, 0, position', LOOPS
    ),
    'one batch too many is skipped': Fault('resuming/loops.py', 'skip(done * self', 'skip((done + 1) * self', LOOPS),
    'iterations are not seeded': Fault(
        'resuming/loops.py', '        seed_random_numbers(*iteration_key(self.runner))\n', '', LOOPS
    ),
    'the oldest checkpoint is taken': Fault(
        'resuming/checkpoints.py',
        'iterations[path]), reverse=True)',
        'iterations[path]))',
        'test_resuming/test_checkpoints.py',
    ),
    'checksums are not compared': Fault(
        'resuming/checkpoints.py', '            _check_checksums(path)\n', '', 'test_resuming/test_checkpoints.py'
    ),
    'files may be half written': Fault(
        'utils/files.py', 'temporary = temporary_name(path)', 'temporary = path', 'test_utils/test_files.py'
    ),
    # ---- hooks and optimizers ----
    'gradients between two steps are lost': Fault(
        'engine/hooks/checkpoint.py', "checkpoint['gradients'] = ", '_ = ', LOOPS
    ),
    'one checkpoint too few is kept': Fault(
        'engine/hooks/checkpoint.py',
        'max_keep_ckpts + 1 if',
        'max_keep_ckpts if',
        'test_engine/test_hooks/test_checkpoint.py',
    ),
    'a NaN step is taken': Fault(
        'engine/hooks/non_finite.py',
        'parameter.grad = None  # the',
        'pass  # the',
        'test_engine/test_hooks/test_non_finite.py',
    ),
    'signals are ignored': Fault(
        'engine/hooks/preemption.py',
        'return _greatest(self._received)',
        'return 0',
        'test_engine/test_hooks/test_preemption.py',
    ),
    'workers get the signals': Fault(
        'resuming/workers.py',
        '(signal.SIG_BLOCK, SIGNALS)',
        '(signal.SIG_BLOCK, ())',
        'test_tools/test_stopping.py -k dist_train',
    ),
    'the feature probe draws random numbers': Fault(
        'engine/hooks/feature_probe.py',
        'torch.random.fork_rng(devices=[]), ',
        '',
        'test_engine/test_hooks/test_feature_probe.py',
    ),
    'a channel is compared with itself': Fault(
        'evaluation/diversity.py',
        '.sum(dim=(1, 2)) - count',
        '.sum(dim=(1, 2))',
        'test_evaluation/test_diversity.py',
    ),
    'parts of other weights are taken': Fault(
        'evaluation/embeddings.py', ' or _settings(path) != described', '', 'test_evaluation/test_embeddings.py'
    ),
    'pictures come before checkpoints': Fault(
        'engine/reporting.py', '    runner._hooks.sort(key=_comes_last)\n', '', 'test_engine/test_reporting.py'
    ),
    'pictures lose their folders': Fault(
        'engine/hooks/pictures.py',
        'relative = os.path.relpath(path, root)',
        'relative = os.path.basename(path)',
        'test_engine/test_hooks/test_pictures.py',
    ),
    'blocks are in the layer after theirs': Fault(
        'engine/optimizers/layer_decay.py',
        '+ block // BLOCKS',
        '+ (block + 1) // BLOCKS',
        'test_engine/test_optimizers',
    ),
    'the mask token has weight decay': Fault(
        'engine/optimizers/layer_decay.py', " and not name.endswith('mask_token')", '', 'test_engine/test_optimizers'
    ),
    # ---- evaluation ----
    'kNN: lengths of features count': Fault(
        'evaluation/knn.py',
        'F.normalize(train, dim=1), F.normalize(val, dim=1)',
        'train, val',
        f'{JUDGES}/test_knn.py',
    ),
    'kNN: every neighbour has one vote': Fault(
        'evaluation/knn.py', ' / temperature).exp()', ' * 0).exp()', f'{JUDGES}/test_knn.py'
    ),
    'linear probe: parts of an image on both sides': Fault(
        'evaluation/linear.py',
        'np.unique(np.asarray(groups),',
        'np.unique(range(len(labels)),',
        f'{JUDGES}/test_linear.py',
    ),
    'linear probe: the worst learning rate': Fault(
        'evaluation/linear.py', 'best = max(', 'best = min(', f'{JUDGES}/test_linear.py'
    ),
    'bootstrap: objects, not images': Fault(
        'evaluation/accuracy.py', 'np.unique(groups,', 'np.unique(range(len(groups)),', f'{JUDGES}/test_accuracy.py'
    ),
    'features: an unreadable image shifts the others': Fault(
        'evaluation/features.py',
        'torch.tensor([index for index, _ in read]',
        'torch.tensor([items[0][0] + i for i in range(len(read))]',
        f'{JUDGES}/test_features.py',
    ),
    'crowds are objects': Fault(
        'evaluation/labelled_samples.py',
        "annotation.get('iscrowd') or ",
        '',
        f'{JUDGES}/test_labelled_samples.py',
    ),
    # ---- preflight and command line ----
    'a missing class is accepted': Fault(
        'preflight/coco.py', 'if name not in names]', 'if False]', f'{BAD}/test_annotations.py -k refused'
    ),
    'a NaN box is accepted': Fault(
        'preflight/coco.py',
        'len(box) != 4 or not _all_finite(box)',
        'len(box) != 4',
        f'{BAD}/test_annotations.py -k refused',
    ),
    'run lengths of any sum are accepted': Fault(
        'preflight/coco.py', 'return sum(counts) == total', 'return True', f'{BAD}/test_annotations.py -k refused'
    ),
    'misspelt settings are accepted': Fault(
        'preflight/settings.py',
        '        if key not in known:\n',
        '        if False:\n',
        f'{BAD}/test_configs.py -k option',
    ),
    'bad input has exit code 0': Fault(
        'cli/errors.py',
        "sys.exit(f'error: {message.strip()}')",
        "print(f'error: {message.strip()}', file=sys.stderr)",
        'test_tools/test_make_shards.py',
    ),
    '--resume is ignored': Fault(
        'cli/arguments.py',
        'cfg.resume = bool(found) or',
        'cfg.resume = False and',
        'test_tools/test_train_and_test.py -k resumes',
    ),
    # ---- server ----
    'answers of a batch go to other images': Fault(
        'serve/worker.py', 'zip(group, results, strict=True)', 'zip(group, results[::-1], strict=True)', WORKER
    ),
    'images of two sizes share a batch': Fault(
        'serve/worker.py', '(self.size, self.threshold) == (other.size, other.threshold)', 'True', WORKER
    ),
    'a body without a length has no limit': Fault('serve/uploads.py', 'if len(body) > most:', 'if False:', APP),
    'bombs are decoded': Fault('serve/uploads.py', 'if height * width > most:', 'if False:', APP),
    'any token is right': Fault(
        'serve/app.py', 'if not hmac.compare_digest(', 'if False and hmac.compare_digest(', APP
    ),
    'a client that left is predicted': Fault(
        'serve/app.py', 'answer.cancel()  # before', 'pass  # before', f'{APP} -k leaves'
    ),
}


def copy_repository(folder: Path) -> Path:
    """Copy what the tests need, and return the copy; the sample data lie beside it as they do beside the original."""
    copy = folder / 'repository'
    copy.mkdir()
    for name in ('mmcnv2', 'tests', 'configs', 'tools', 'docs'):
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    (folder / 'shared').symlink_to(ROOT.parent / 'shared')
    return copy


def find(fault: Fault, repository: Path) -> str:
    """Plant a fault, run its tests, and return the id of the test that fails first; '' if none does."""
    path = repository / 'mmcnv2' / fault.file
    content = path.read_text(encoding='utf-8')
    if content.count(fault.right) != 1:
        raise SystemExit(f'error: {fault.file} has {content.count(fault.right)} times: {fault.right!r}, expected once')
    path.write_text(content.replace(fault.right, fault.wrong), encoding='utf-8')
    paths, *selected = fault.tests.split(' -k ')
    arguments = [f'tests/{name}' for name in paths.split()] + [part for name in selected for part in ('-k', name)]
    command = [sys.executable, '-m', 'pytest', '-x', '--durations=0', '-p', 'no:cacheprovider', *arguments]
    env = {**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'}
    try:
        done = subprocess.run(command, cwd=repository, env=env, capture_output=True, text=True)
    finally:
        path.write_text(content, encoding='utf-8')
    failed = re.search(r'^FAILED tests/(.+?)(?: - |$)', done.stdout, re.MULTILINE)
    if not failed and done.returncode:
        raise SystemExit(f'error: the tests did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}')
    return failed[1] if failed else ''


def main() -> None:
    names = sys.argv[1:] or list(FAULTS)
    missed = []
    print('| fault | file | found by | seconds |\n| --- | --- | --- | --- |')
    with tempfile.TemporaryDirectory() as folder:
        repository = copy_repository(Path(folder))
        for name in names:
            start = time.monotonic()
            test = find(FAULTS[name], repository)
            missed += [] if test else [name]
            found = f'`{test}`' if test else '**not found**'
            print(f'| {name} | {FAULTS[name].file} | {found} | {time.monotonic() - start:.0f} |', flush=True)
    if missed:
        sys.exit(f'error: not found: {"; ".join(missed)}')


if __name__ == '__main__':
    main()
