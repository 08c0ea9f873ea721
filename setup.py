"""Packaging. Versions are kept in ``requirements/``, the package's own in ``mmcnv2/version.py``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
README = ROOT / 'README.md'


def requirements(name: str) -> list[str]:
    """Return the lines of ``requirements/<name>.txt`` without comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def version() -> str:
    """Return the package's version, read without importing it: its dependencies may not be there yet."""
    text = (ROOT / 'mmcnv2' / 'version.py').read_text()
    return re.search(r"__version__ = '(.+)'", text)[1]


setup(
    name='mmcnv2',
    version=version(),
    description='ConvNeXt V2 and FCMAE pre-training for OpenMMLab: classification, detection, segmentation',
    long_description=README.read_text(encoding='utf-8') if README.exists() else '',
    long_description_content_type='text/markdown',
    author='mmcnv2 contributors',
    # Documentation, source, issues and changelog belong here as well, once the repository has a public address. Until
    # then they are in it: docs/README.md, CHANGELOG.md.
    project_urls={'Paper': 'https://arxiv.org/abs/2301.00808'},
    license='Apache-2.0',
    keywords=['ConvNeXt V2', 'FCMAE', 'masked autoencoder', 'OpenMMLab', 'object detection'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['mmcnv2', 'mmcnv2.*']),
    # The recipes, where MMEngine and mim look for them: links to configs/ and model-index.yml.
    package_data={'mmcnv2': ['py.typed', '.mim/model-index.yml', '.mim/configs/**/*.py', '.mim/configs/**/*.yml']},
    entry_points={'console_scripts': ['mmcnv2 = mmcnv2.cli:main']},
    # No OpenMMLab here: the originals and their onedl- successors share import names, and pip would
    # put one over the other. `import mmcnv2` checks that some are there.
    install_requires=requirements('runtime'),
    extras_require={
        'openmmlab': requirements('mmcv') + requirements('openmmlab'),
        'demo': ['gradio>=6', 'pyarrow'],
        'docs': ['furo', 'myst-nb', 'sphinx'],
        'hub': ['huggingface-hub', 'safetensors'],
        'mlflow': ['mlflow-skinny'],  # the client; the server comes with mlflow
        'mmpretrain': ['onedl-mmpretrain'],
        'onnx': ['onnx', 'onnxruntime', 'onnxscript'],
        # Runs what `mmcnv2 export` writes, alone: of OpenMMLab the two packages without models. No compiler is needed,
        # since pip builds mmcv without its operators then. Where OpenMMLab is installed, `onnx` is enough.
        'onnxruntime': ['onnxruntime', 'onedl-mmengine>=0.10.0,<1.0.0', 'onedl-mmcv>=2.1.0,<3.0.0', 'pycocotools'],
        'parquet': ['pyarrow'],
        'safetensors': ['safetensors'],
        'serve': ['fastapi>=0.115', 'prometheus-client', 'python-multipart', 'uvicorn'],
        'spconv': ['spconv'],
        'tensorboard': ['tensorboard'],
        'tiff': ['imagecodecs'],  # compressions of TIFF other than deflate
        'timm': ['timm'],  # not a default: its torchvision cannot be imported with a CPU-only torch
        'wandb': ['wandb'],
        'webdataset': ['webdataset'],
        'dev': requirements('dev'),
    },
    zip_safe=False,
)
