"""What is open on a GPU, in the order of its value: a table of parts, each a few commands.

In a command line, ``{device}`` is cuda or cpu, ``{work}`` the part's own folder, ``{json}`` the file that the report
reads the figures from, ``{seconds}`` what the command may take, ``{out}`` the report's folder, ``{data}`` that of
``--data``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command line, run from the root of the repository without a shell.

    Args:
        name: Of its log.
        limit: Seconds after which it is killed.
        line: On a GPU.
        small: On a CPU, in seconds; None: there is nothing of it to run there.
    """

    name: str
    limit: int
    line: str
    small: str | None


@dataclass(frozen=True)
class Part:
    """Commands that answer one question, its title."""

    name: str
    title: str
    commands: tuple[Command, ...]


_ENVIRONMENT = 'python tools/gpu/environment.py --device {device} --json {json}'
_PRETRAIN = 'python -m mmcnv2 benchmark-pretrain --device {device} --json {json} '
_SMALL = '--archs atto --batch-sizes 2 --image-size 64 --repeats 1 --warmup 0 '
_ALL = '--dtype bf16 --backends dense triton torch spconv spark '
_COMPILED = '--dtype bf16 --backends plain-compiled triton '
_BACKBONE = 'python -m mmcnv2 benchmark-backbone --device {device} --json {json} '
_RECIPE = 'python tools/gpu/recipe.py --device {device} --json {json} --work-dir {work} '
_SANITIZER = (
    'env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --error-exitcode 1 --tool {tool} '
    'python tools/gpu/backends.py --device {{device}} --cases odd --backends triton --dtypes fp32 bf16 --json {{json}}'
)


def _recipe(name: str, limit: int, options: str) -> Command:
    """A real recipe: ``options`` of recipe.py. On a CPU the same with atto at 64 pixels."""
    return Command(name, limit, f'{_RECIPE}{options}', f'{_RECIPE}{options} --small')


def _dist(name: str, options: str) -> Command:
    """A training of a few iterations by one process under torchrun."""
    line = 'python tools/gpu/one_process.py --device {device} --work-dir {work} --json {json} ' + options
    return Command(name, 90, line, line)


PARTS = (
    Part(
        'environment',
        'The machine, and what can be imported',
        (Command('environment', 60, _ENVIRONMENT, _ENVIRONMENT),),
    ),
    Part(
        'backends',
        'Do all sparse backends compute what `dense` does?',
        (
            Command(
                'backends',
                240,
                'python tools/gpu/backends.py --device {device} --json {json}',
                'python tools/gpu/backends.py --device {device} --json {json} --cases atto odd fcmae '
                '--image-size 64 --dtypes fp32 bf16',
            ),
        ),
    ),
    Part(
        'kernels',
        "The kernels' own tests, on the GPU",
        (
            Command(
                'pytest',
                180,
                'python -m pytest -p no:cacheprovider tests/test_models/test_sparse/test_triton.py '
                'tests/test_models/test_sparse/test_auto.py',
                'python -m pytest -p no:cacheprovider tests/test_models/test_sparse/test_auto.py -k plain_torch',
            ),
        ),
    ),
    Part(
        'sanitizer',
        'Do the kernels read and write only what is theirs?',
        tuple(Command(tool, 150, _SANITIZER.format(tool=tool), None) for tool in ('memcheck', 'racecheck')),
    ),
    Part(
        'pretraining',
        'A pre-training step: speed and memory of every backend',
        (
            Command(
                'base',
                150,
                f'{_PRETRAIN}{_ALL}--archs base --batch-sizes 128',
                f'{_PRETRAIN}{_SMALL}--backends dense torch spconv --dtype fp32 bf16',
            ),
            Command('large', 180, f'{_PRETRAIN}{_ALL}--archs large --batch-sizes 128', None),
            Command('tiny-atto', 120, f'{_PRETRAIN}{_ALL}--archs tiny atto --batch-sizes 128', None),
            # To compile takes minutes: apart, so that it costs the others nothing.
            Command('base-compiled', 240, f'{_PRETRAIN}{_COMPILED}--archs base --batch-sizes 128', None),
            Command('large-compiled', 300, f'{_PRETRAIN}{_COMPILED}--archs large --batch-sizes 128', None),
            Command('base-fits', 150, f'{_PRETRAIN}{_ALL}--archs base base base --batch-sizes 256 512 1024', None),
            Command('large-fits', 150, f'{_PRETRAIN}{_ALL}--archs large large --batch-sizes 256 512', None),
            *(
                Command(
                    f'ratio-{ratio}',
                    60,
                    f'{_PRETRAIN}--dtype bf16 --archs base --batch-sizes 128 --backends triton --mask-ratio {ratio}',
                    None,
                )
                for ratio in (0.03, 0.4, 0.6, 0.75, 0.9)  # of 49 patches; at least one must be removed
            ),
            *(
                Command(
                    f'size-{size}',
                    60,
                    f'{_PRETRAIN}--dtype bf16 --archs base --batch-sizes 64 --backends triton --image-size {size}',
                    None,
                )
                for size in (160, 192, 224, 288, 384, 512)
            ),
        ),
    ),
    Part(
        'bandwidth',
        'How close are the depthwise kernels to the bandwidth of a copy?',
        (
            Command(
                'bandwidth',
                180,
                'python tools/gpu/bandwidth.py --device {device} --json {json} --sweep',
                'python tools/gpu/bandwidth.py --device {device} --json {json} --arch atto --batch-size 1 '
                '--image-size 64 --repeats 1',
            ),
        ),
    ),
    Part(
        'profile',
        'Where does the time of a step go?',
        (
            Command(
                'profile',
                120,
                'python -m mmcnv2 profile-pretrain --device {device} --json {json} --archs base --batch-sizes 128 '
                '--dtype bf16 --backends dense triton torch',
                f'python -m mmcnv2 profile-pretrain --device {{device}} --json {{json}} {_SMALL}--backends torch',
            ),
            # No JSON: ncu runs every kernel several times, and the times that the script takes mean nothing then.
            Command(
                'ncu',
                180,
                'ncu --kernel-name regex:_conv_kernel|_weight_gradient_kernel --section SpeedOfLight '
                '--section MemoryWorkloadAnalysis --section Occupancy --section WarpStateStats '
                'python tools/gpu/bandwidth.py --device {device} --repeats 1',
                None,
            ),
        ),
    ),
    Part(
        'dense',
        'The dense backbone beside timm and mmpretrain, eager and compiled',
        tuple(
            Command(
                f'{arch}-{size}{kind}',
                limit,
                f'{_BACKBONE}--dtype bf16 --archs {arch} --image-sizes {size} --batch-size {batch_size} '
                f'--against {against}',
                f'{_BACKBONE}--archs atto --image-sizes 64 --repeats 1 --warmup 0 --against {against}'
                if (arch, size, kind) == ('tiny', 512, '')
                else None,
            )
            for kind, limit, against in (
                ('', 90, 'plain timm mmpretrain'),
                ('-compiled', 300, 'mmcnv2-compiled plain-compiled timm-compiled mmpretrain-compiled'),
            )
            for arch, size, batch_size in (('tiny', 512, 16), ('base', 512, 16), ('tiny', 1024, 4), ('base', 1024, 4))
        ),
    ),
    Part(
        'operators',
        "mmcv's operators, built here: RoIAlign and NMS against the CPU",
        (
            Command(
                'operators',
                590,
                'python tools/gpu/operators.py --device {device} --json {json} --out {out}',
                'python tools/gpu/operators.py --device {device} --json {json}',
            ),
        ),
    ),
    Part(
        'recipes',
        'Real recipes with mixed precision as configured, killed and resumed',
        (
            _recipe('fcmae', 200, 'fcmae --seconds 60'),
            _recipe('mask-rcnn', 200, 'mask-rcnn --seconds 60'),
            _recipe('upernet', 200, 'upernet --seconds 60'),
            _recipe('finetune', 200, 'finetune --seconds 60'),
            Command('fcmae-compiled', 300, f'{_RECIPE}fcmae --seconds 120 --compile', None),
        ),
    ),
    Part(
        'resume',
        'Does a killed training end bit for bit as one that was not stopped?',
        (_recipe('fcmae', 200, 'fcmae --exact'),),
    ),
    Part(
        'nccl',
        'One process under torchrun: DDP, FSDP, SyncBN, --auto-scale-lr',
        (
            _dist('ddp', 'ddp'),
            _dist('fsdp', 'fsdp'),
            _dist('sync-bn', 'sync-bn'),
            _dist('auto-scale-lr', 'auto-scale-lr'),
        ),
    ),
    Part(
        'scaling',
        "The scaling model's utilisation and overhead",
        (
            Command(
                'scaling',
                120,
                'python tools/gpu/scaling.py --device {device} --json {json}',
                'python tools/gpu/scaling.py --device {device} --json {json} --arch atto --batch-sizes 1 2 '
                '--image-size 64 --repeats 1',
            ),
        ),
    ),
    Part(
        'evidence',
        'FCMAE tiny on the images of --data, then from it and from scratch',
        (
            Command(
                'evidence',
                1500,
                'python tools/gpu/evidence.py --data {data} --work-dir {work} --json {json} --seconds {seconds}',
                None,
            ),
        ),
    ),
)
