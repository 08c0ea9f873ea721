"""TensorBoard, Weights & Biases, MLflow: what is missing is said in one line before a training."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.configs import ROOT
from helpers.processes import free_port
from mmengine.config import Config

from mmcnv2.engine import MLflowVisBackend
from mmcnv2.preflight import check_settings, check_vis_backends
from mmcnv2.utils.errors import ConfigError, MissingPackageError

FILES = sorted(ROOT.glob('configs/_base_/vis/*.py'))


def config(*backends):
    return Config(dict(visualizer=dict(type='Visualizer', vis_backends=list(backends))))


def test_files_keep_the_local_backend():
    assert [file.stem for file in FILES] == ['mlflow', 'tensorboard', 'wandb']
    for file in FILES:
        local, _ = backends = Config.fromfile(file).vis_backends
        assert local == dict(type='LocalVisBackend')
        check_settings(config(*backends))


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_missing_package(file, monkeypatch):
    backends = Config.fromfile(file).vis_backends
    monkeypatch.setattr(sys, 'path', [])
    monkeypatch.setattr(sys, 'path_importer_cache', {})
    monkeypatch.setattr(sys, 'meta_path', [])
    for name in [name for name in sys.modules if name.partition('.')[0] == file.stem]:
        monkeypatch.delitem(sys.modules, name)
    kind = backends[1].type.rpartition('.')[2]
    with pytest.raises(MissingPackageError) as caught:
        check_vis_backends(config(*backends))
    extra = f"pip install 'mmcnv2[{file.stem}]'"
    assert str(caught.value) == f'visualizer.vis_backends.1: {kind} needs {file.stem}: {extra}'
    assert f"'{file.stem}': [" in Path(ROOT / 'setup.py').read_text()


@pytest.mark.parametrize(
    ('backend', 'message'),
    [
        (
            dict(type='TensorBoardVisBackend'),
            'vis_backends.0.type: no component .* did you mean TensorboardVisBackend',
        ),
        (dict(type='MLflowVisBackend', tracking_url='x'), 'vis_backends.0.tracking_url: .* did you mean tracking_uri'),
    ],
)
def test_misspelled(backend, message):
    with pytest.raises(ConfigError, match=message):
        check_settings(config(backend))


def test_text_of_the_command_line():
    with pytest.raises(ConfigError, match=r"vis_backends\.0 is \"dict\(type='A'\)\", expected a dict"):
        check_vis_backends(config("dict(type='A')"))


@pytest.mark.parametrize('kind', ['MLflowVisBackend', 'mmcnv2.MLflowVisBackend'])
def test_mlflow_server(kind):
    address = f'http://127.0.0.1:{free_port()}'
    with pytest.raises(ConfigError, match=rf'vis_backends\.0\.tracking_uri: no MLflow server answers at {address}'):
        check_vis_backends(config(dict(type=kind, tracking_uri=address)))
    check_vis_backends(config(dict(type=kind, tracking_uri='sqlite:///runs.db')))


@pytest.mark.slow
def test_mlflow_server_that_is_gone(tmp_path, monkeypatch):
    """One warning, whatever is recorded, and no error."""
    monkeypatch.setenv('MLFLOW_DISABLE_TELEMETRY', 'true')
    monkeypatch.setenv('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '0')
    monkeypatch.setenv('MLFLOW_TRACKING_URI', '')  # MLflow sets it; this restores it
    import mlflow

    warnings = []
    monkeypatch.setattr('mmcnv2.engine.sparing.print_log', lambda message, **_: warnings.append(message))
    backend = MLflowVisBackend(str(tmp_path), f'http://127.0.0.1:{free_port()}')
    for step in (1, 2):
        backend.add_scalars(dict(loss=1.0), step)
    backend.add_image('reconstruction', np.zeros((2, 2, 3), np.uint8))
    backend.close()
    mlflow.set_tracking_uri('')
    (warning,) = warnings
    assert warning.startswith('MLflowVisBackend failed, the run goes on: ')
