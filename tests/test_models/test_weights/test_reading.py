"""Reading checkpoint files: kinds of files, and those that are refused, nothing executed."""

import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub

from mmcnv2.models.normalization import IMAGENET, Normalization
from mmcnv2.models.weights.reading import read_normalization, read_state_dict

TENSORS = {'stages.0.0.norm.weight': torch.arange(3.0), 'stages.0.0.norm.bias': torch.arange(6.0).view(2, 3)}


def assert_tensors(read):
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[key], value) for key, value in TENSORS.items())


class Evil:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.mark.parametrize('zip_format', [True, False])
@pytest.mark.parametrize(
    'content',
    [
        TENSORS,
        dict(model=TENSORS, epoch=3, args=dict(lr=1e-3)),
        dict(state_dict=TENSORS),
        dict(model=dict(state_dict=TENSORS)),
        {f'module.{key}': value for key, value in TENSORS.items()},
        dict(module=TENSORS, optimizer=None, ds_version='0.18.9'),
    ],
    ids=['bare', 'model', 'state_dict', 'nested', 'of DDP', 'of DeepSpeed'],
)
def test_torch_files(content, zip_format, tmp_path):
    torch.save(content, tmp_path / 'weights.pth', _use_new_zipfile_serialization=zip_format)
    assert_tensors(read_state_dict(str(tmp_path / 'weights.pth')))


def test_a_checkpoint_of_mmengine_needs_no_permission(tmp_path):
    """Its message hub holds averages, as objects, and numbers of numpy."""
    hub = MessageHub.get_instance('test_reading')
    for loss in (1.0, np.float32(2.0), torch.tensor(3.0)):
        hub.update_scalar('train/loss', loss)
    hub.update_info('iter', 7)
    torch.save(dict(state_dict=TENSORS, message_hub=hub.state_dict(), meta=dict(epoch=1)), tmp_path / 'epoch_1.pth')
    assert_tensors(read_state_dict(str(tmp_path / 'epoch_1.pth')))


@pytest.mark.parametrize('zip_format', [True, False])
def test_code_is_refused_and_not_run(tmp_path, zip_format):
    path, trace = tmp_path / 'evil.pth', tmp_path / 'executed'
    torch.save(dict(model=TENSORS, evil=Evil(trace)), path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(ValueError, match=r'evil\.pth holds more than tensors .* trust its source: allow_pickle=True'):
        read_state_dict(str(path))
    assert not trace.exists()
    assert_tensors(read_state_dict(str(path), allow_pickle=True))
    assert trace.exists()


@pytest.mark.parametrize('target', [(torch.nn.Module, 'apply'), (dict, 'get')])
def test_getattr_reaches_averages_only(target, tmp_path):
    class Reaches:
        def __reduce__(self):
            return getattr, target

    torch.save(dict(model=TENSORS, other=Reaches()), tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match='trust its source'):
        read_state_dict(str(tmp_path / 'evil.pth'))


def test_objects_are_read_if_allowed(tmp_path):
    torch.save(dict(model=TENSORS, args=ConfigDict(lr=1)), tmp_path / 'args.pth')
    with pytest.raises(ValueError, match=r'trust its source: allow_pickle=True'):
        read_state_dict(str(tmp_path / 'args.pth'))
    assert_tensors(read_state_dict(str(tmp_path / 'args.pth'), allow_pickle=True))


@pytest.mark.parametrize('allow_pickle', [True, False])
@pytest.mark.parametrize('zip_format', [True, False])
@pytest.mark.parametrize('share', [0, 0.02, 0.5, 0.99])
def test_a_file_that_is_cut_off(share, zip_format, allow_pickle, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(model={'x': torch.randn(1000)}), path, _use_new_zipfile_serialization=zip_format)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r'weights\.pth is damaged'):
        read_state_dict(str(path), allow_pickle)


def test_other_files(tmp_path):
    (tmp_path / 'text.pth').write_text('version https://git-lfs.github.com/spec/v1')
    with pytest.raises(ValueError, match=r'text\.pth is damaged or was not written by torch\.save'):
        read_state_dict(str(tmp_path / 'text.pth'))
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match=r'list\.pth holds no state dict, but a list'):
        read_state_dict(str(tmp_path / 'list.pth'))
    (tmp_path / 'pickle.pth').write_bytes(pickle.dumps({'a': 1}))
    with pytest.raises(ValueError, match=r'pickle\.pth'):
        read_state_dict(str(tmp_path / 'pickle.pth'))
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth does not exist: give the path of a file, a URL'):
        read_state_dict(str(tmp_path / 'nowhere.pth'))


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / 'model.safetensors')
    assert_tensors(read_state_dict(str(tmp_path / 'model.safetensors')))
    (tmp_path / 'broken.safetensors').write_bytes((tmp_path / 'model.safetensors').read_bytes()[:-4])
    with pytest.raises(ValueError, match=r'broken\.safetensors is damaged or no safetensors file'):
        read_state_dict(str(tmp_path / 'broken.safetensors'))


def test_missing_packages(tmp_path, monkeypatch):
    (tmp_path / 'model.safetensors').touch()
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ImportError, match='needs safetensors: pip install safetensors'):
        read_state_dict(str(tmp_path / 'model.safetensors'))
    with pytest.raises(ImportError, match=r'timm://convnextv2_base\.fcmae needs timm: pip install timm'):
        read_state_dict('timm://convnextv2_base.fcmae')


def test_a_model_of_timm_by_name(monkeypatch):
    calls = []

    class Model:
        def state_dict(self):
            return TENSORS

    def create_model(*args, **kwargs):
        calls.append((args, kwargs))
        return Model()

    monkeypatch.setitem(sys.modules, 'timm', types.SimpleNamespace(create_model=create_model))
    assert_tensors(read_state_dict('timm://convnextv2_base.fcmae'))
    assert calls == [(('convnextv2_base.fcmae',), dict(pretrained=True))]


def test_mean_and_std_that_timm_knows():
    assert read_normalization('timm://convnextv2_atto.fcmae') == IMAGENET
    clip = read_normalization('timm://convnext_base.clip_laion2b')
    assert clip.mean == pytest.approx((122.77094, 116.74601, 104.09373), abs=1e-4)


def test_mean_and_std_of_the_training(tmp_path, monkeypatch):
    """In the config that MMEngine saves in a checkpoint, which is read and not run."""

    warnings = []
    monkeypatch.setattr('mmcnv2.models.weights.reading.print_log', lambda message, *args: warnings.append(message))

    def checkpoint(**content):
        torch.save(dict(state_dict=TENSORS, **content), tmp_path / 'a.pth')
        return str(tmp_path / 'a.pth')

    preprocessor = dict(type='ImgDataPreprocessor', mean=[45.0] * 3, std=[70.0] * 3)
    cfg = Config(dict(model=dict(type='my_project.FCMAE', data_preprocessor=preprocessor))).pretty_text
    assert read_normalization(checkpoint(meta=dict(cfg=cfg))) == Normalization((45, 45, 45), (70, 70, 70))
    assert read_normalization(checkpoint(meta=dict(epoch=3))) is None
    assert read_normalization(checkpoint()) is None
    torch.save(TENSORS, tmp_path / 'weights.pth')
    assert read_normalization(str(tmp_path / 'weights.pth')) is None
    assert not warnings
    for cfg in ('model = print(1)', 'model = 3', 'model = dict(data_preprocessor=dict(mean=3, std=4))'):
        assert read_normalization(checkpoint(meta=dict(cfg=cfg))) is None
    assert len(warnings) == 3 and all('a.pth: mean and std of its training are not known: ' in w for w in warnings)
    assert 'is no plain config, and running it could do anything: ' in warnings[0]


def test_a_url_is_downloaded_once(tmp_path, monkeypatch):
    """From a server on this machine."""
    served = tmp_path / 'served'
    served.mkdir()
    torch.save(TENSORS, served / 'weights.pth')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    server = subprocess.Popen(
        [sys.executable, '-u', '-m', 'http.server', '0', '--bind', '127.0.0.1'],
        cwd=served,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        port = server.stdout.readline().split(' port ')[1].split()[0]
        url = f'http://127.0.0.1:{port}/weights.pth?download=true'
        assert_tensors(read_state_dict(url))
    finally:
        server.kill()
        server.wait()
    assert (tmp_path / 'hub/checkpoints/weights.pth').is_file()
    assert_tensors(read_state_dict(url))
