"""Models on the hub: what is fetched, compared, refused, and what happens without a network or half-way."""

import hashlib
import subprocess
import sys
from contextlib import nullcontext

import huggingface_hub
import pytest
import torch
from helpers.hub import environment, offline, point_at, running_hub
from huggingface_hub import constants
from huggingface_hub.utils import _http
from packaging.version import Version
from safetensors.torch import save

from mmcnv2.models.weights.reading import read_state_dict
from mmcnv2.utils.errors import InputError, MissingFileError, MissingPackageError
from mmcnv2.utils.hub import HubName, hub_config, hub_weights, parse, pinned, upload

NAME = 'hf://someone/model'
WEIGHTS = save({'conv.weight': torch.arange(250_000.0)})  # 1 MB


def sums(**files):
    return ''.join(f'{hashlib.sha256(content).hexdigest()}  {name}\n' for name, content in files.items()).encode()


def repository(weights=WEIGHTS, config=b'a = 1\n'):
    digests = sums(**{'model.safetensors': weights, 'config.py': config})
    return {'model.safetensors': weights, 'config.py': config, 'SHA256SUMS': digests, 'README.md': b'# A model\n'}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub() as hub:
        point_at(hub, tmp_path / 'cache', monkeypatch)
        yield hub


@pytest.fixture
def impatient(monkeypatch):
    """huggingface-hub waits up to eight seconds between its attempts."""
    monkeypatch.setattr(_http.time, 'sleep', lambda seconds: None)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('hf://owner/name', ('owner/name', None)),
        ('hf://owner/na.me-1_x@v1.0', ('owner/na.me-1_x', 'v1.0')),
        ('hf://owner/name@refs/pr/1', ('owner/name', 'refs/pr/1')),
    ],
)
def test_names(name, expected):
    assert parse(name) == expected
    assert str(HubName(*expected)) == name


@pytest.mark.parametrize(
    'name', ['hf://', 'hf://name', 'hf://a/b/model.bin', 'hf://a/b@', 'hf://a/../b', 'hf://-a/b c']
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match='expected hf://owner/name or hf://owner/name@revision'):
        parse(name)


def test_weights_and_config_arrive_as_they_were_published_and_once(hub):
    commit = hub.publish('someone/model', repository())
    assert hub_weights(NAME).read_bytes() == WEIGHTS
    assert hub_config(NAME).read_bytes() == b'a = 1\n'
    assert pinned(NAME) == f'{NAME}@{commit}'
    fetched = [path for path, _ in hub.downloads()]
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert [path.rpartition('/')[2] for path in fetched] == [digest, 'SHA256SUMS', 'config.py']
    hub_weights(NAME)
    assert len(hub.downloads()) == 3


def test_a_revision_stays_what_it_was(hub):
    first = hub.publish('someone/model', repository())
    newer = save({'conv.weight': torch.zeros(3)})
    second = hub.publish('someone/model', repository(newer))
    assert hub_weights(f'{NAME}@{first}').read_bytes() == WEIGHTS
    assert hub_weights(NAME).read_bytes() == newer
    assert pinned(NAME) == f'{NAME}@{second}'


def test_pickles_are_never_asked_for(hub):
    files = {'pytorch_model.bin': b'\x80\x02evil', 'model.pth': b'\x80\x02evil', 'README.md': b''}
    hub.publish('someone/model', files, lfs=files)
    with pytest.raises(MissingFileError, match=r'has no model\.safetensors: .* Other files are not read'):
        read_state_dict(NAME)
    assert {path.rpartition('/')[2] for _, path, _ in hub.asked} == {'model.safetensors'}


@pytest.mark.parametrize('part', ['model.safetensors', 'config.py'])
def test_a_wrong_digest(hub, part):
    """Of another file that is valid in itself."""
    files = repository()
    files[part] = save({'conv.weight': torch.zeros(250_000)}) if part == 'model.safetensors' else b'a = 2\n'
    hub.publish('someone/model', files)
    found, expected = (hashlib.sha256(content[part]).hexdigest() for content in (files, repository()))
    read = read_state_dict if part == 'model.safetensors' else hub_config
    with pytest.raises(InputError, match=f'{part} is not what was published: SHA-256 {found}, expected {expected}'):
        read(NAME)


def test_a_file_that_was_damaged_in_the_cache(hub):
    hub.publish('someone/model', repository())
    path = hub_weights(NAME).resolve()
    path.write_bytes(WEIGHTS[:-1] + b'?')
    with pytest.raises(InputError, match=f'is not what was published: .* Remove {path} and try again'):
        read_state_dict(NAME)
    path.unlink()
    assert torch.equal(read_state_dict(NAME)['conv.weight'], torch.arange(250_000.0))


def test_a_model_of_others_records_no_digest(hub, monkeypatch):
    hub.publish('someone/model', {'model.safetensors': WEIGHTS, 'pytorch_model.bin': b'\x80\x02'})
    said = []
    monkeypatch.setattr('mmcnv2.utils.hub.print_log', lambda message, *_: said.append(message))
    for when in (nullcontext(), offline()):
        with when:
            assert len(read_state_dict(NAME)) == 1
        assert said == [f'{NAME} records no digest of model.safetensors: it is used as it came']
        said.clear()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('hf://someone/other', 'no such repository, or a private one: check the name, or log in'),
        ('hf://someone/model@v9', 'no such branch, tag or commit'),
    ],
)
def test_what_the_hub_does_not_have(hub, name, message):
    hub.publish('someone/model', repository())
    with pytest.raises(MissingFileError, match=f'{name} cannot be had .*{message}') as error:
        read_state_dict(name)
    assert '\n' not in str(error.value)


def test_private_models_need_a_token(hub, tmp_path, monkeypatch):
    hub.publish('someone/model', repository())
    hub.repositories['someone/model'].private = True
    assert read_state_dict(NAME)
    point_at(hub, tmp_path / 'of a stranger', monkeypatch, token='hf_another')
    with pytest.raises(MissingFileError, match='or a private one: check the name, or log in'):
        read_state_dict(NAME)


def test_the_token_goes_to_the_hub_alone(hub):
    """The hub keeps large files on another host."""
    hub.publish('someone/model', repository())
    assert read_state_dict(NAME)
    tokens = {path.split('/')[1]: headers.get('authorization') for _, path, headers in hub.asked}
    assert tokens == {'someone': 'Bearer hf_of_the_tests', 'cdn': None}


def test_a_download_that_was_interrupted_goes_on(hub, monkeypatch):
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 100_000)  # of 10 MB: less is not kept
    hub.publish('someone/model', repository())
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    hub.cut = (digest, 600_000)
    if Version(huggingface_hub.__version__).major == 0:  # later ones go on by themselves
        with pytest.raises(InputError, match='the same command goes on where it stopped') as error:
            read_state_dict(NAME)
        assert '\n' not in str(error.value)
    assert torch.equal(read_state_dict(NAME)['conv.weight'], torch.arange(250_000.0))
    ranges = [asked for path, asked in hub.downloads() if digest in path]
    assert len(ranges) == 2 and ranges[0] is None
    start = int(ranges[1].removeprefix('bytes=').removesuffix('-'))
    assert start == 600_000


def test_without_network(hub, tmp_path, monkeypatch, impatient):
    """What is in the cache is used, whether the network is gone or not wanted; else one line says which."""
    commit = hub.publish('someone/model', repository())
    assert read_state_dict(NAME)
    hub.asked.clear()
    with offline():
        for name in (NAME, f'{NAME}@{commit}'):
            assert len(read_state_dict(name)) == 1
        with pytest.raises(MissingFileError, match='it is not in the cache, and HF_HUB_OFFLINE is set'):
            read_state_dict('hf://someone/other')
    assert hub.asked == []

    hub.url = 'http://127.0.0.1:9'  # nobody answers there
    point_at(hub, tmp_path / 'cache', monkeypatch)
    assert len(read_state_dict(NAME)) == 1
    with pytest.raises(MissingFileError, match=r'it is not in the cache, and http://127.0.0.1:9 does not answer'):
        read_state_dict('hf://someone/other')


def test_huggingface_hub_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(MissingPackageError, match=r"needs huggingface-hub: pip install 'mmcnv2\[hub\]'"):
        read_state_dict(NAME)


# ---- upload ----


def test_an_upload_is_one_commit(hub):
    name = upload(repository(), 'hf://tester/new', private=True, message='First')
    stored = hub.repositories['tester/new']
    assert stored.private and len(stored.commits) == 2  # the first is that of an empty repository
    assert hub.files('tester/new') == repository()
    assert name == f'hf://tester/new@{stored.head}'
    assert hub_weights(name).read_bytes() == WEIGHTS


@pytest.mark.parametrize('step', ['preupload', 'lfs', 'commit'])
def test_an_upload_that_fails_leaves_nothing_half_written(hub, step, impatient):
    hub.publish('tester/model', repository())
    before = hub.files('tester/model')
    hub.broken = f'/{step}/'
    with pytest.raises(InputError, match=r'cannot be published: .*nothing was written; the same command tries again'):
        upload(repository(save({'a': torch.ones(2)})), 'hf://tester/model', private=False, message='Second')
    assert hub.files('tester/model') == before
    hub.broken = None
    upload(repository(save({'a': torch.ones(2)})), 'hf://tester/model', private=False, message='Second')
    assert hub.files('tester/model')['model.safetensors'] == save({'a': torch.ones(2)})


def test_uploads_that_are_refused(hub, tmp_path, monkeypatch):
    hub.publish('tester/public', repository())
    with pytest.raises(InputError, match='is public already: leave out --private'):
        upload(repository(), 'hf://tester/public', private=True, message='')
    with pytest.raises(InputError, match='publishing goes to the main branch, leave out @v1'):
        upload(repository(), 'hf://tester/public@v1', private=False, message='')
    point_at(hub, tmp_path / 'other', monkeypatch, token='hf_wrong')
    with pytest.raises(InputError, match='log in with a token that may') as error:
        upload(repository(), 'hf://tester/new', private=False, message='')
    assert '\n' not in str(error.value)
    assert 'tester/new' not in hub.repositories


@pytest.mark.slow
def test_the_variables_of_huggingface_hub_hold(hub, tmp_path, root):
    """In a process of its own, as a user sets them."""
    hub.publish('someone/model', repository())
    code = f'from mmcnv2.utils.hub import hub_weights; print(hub_weights({NAME!r}))'
    variables = dict(PYTHONPATH=str(root), PATH='/usr/bin:/bin', **environment(hub, tmp_path / 'home'))

    def path(**more):
        env = variables | more
        done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    found = path()
    assert found.startswith(str(tmp_path / 'home/hub'))
    asked = len(hub.asked)
    assert path(HF_HUB_OFFLINE='1') == found and len(hub.asked) == asked
