"""Shards and their index, beside webdataset's own reader and Python's tarfile."""

import io
import sys
import tarfile
from pathlib import Path

import pytest
import webdataset

from mmcnv2.datasets.shards import expand_shards, read_index, read_member, write_index, write_shards


def write_files(folder, names):
    """Files whose content is their name, some blocks of it."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name * (1 + 40 * number))
    return [str(folder / name) for name in names]


def write_tar(path, files, **options):
    with tarfile.open(path, 'w', **options) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def read_all(shard):
    return {name: read_member(shard, offset, size) for name, offset, size in read_index(shard)}


def test_patterns_have_braces(tmp_path):
    shards = expand_shards(['{08..11}.tar', 'last.tar'], str(tmp_path))
    assert shards == [f'{tmp_path}/{name}.tar' for name in ('08', '09', '10', '11', 'last')]


def test_written_shards_are_webdatasets(tmp_path):
    names = ['a/b/photo.v1.JPEG', 'a/b/photo.v2.JPEG', 'c d.png', 'e' * 150 + '.jpg', 'ü.jpg']
    paths = write_files(tmp_path / 'images', names)
    pattern = write_shards(paths, str(tmp_path / 'images'), str(tmp_path / '100 %'), max_images=2, max_bytes=1e9)
    assert pattern == '{000000..000002}.tar'
    shards = expand_shards(pattern, str(tmp_path / '100 %'))
    keys = ['a/b/00000000_photo_v1', 'a/b/00000001_photo_v2', '00000002_c d', f'00000003_{"e" * 150}', '00000004_ü']

    reader = webdataset.WebDataset(shards, shardshuffle=False)
    samples = [(sample['__key__'], sample.get('jpeg') or sample.get('png') or sample['jpg']) for sample in reader]
    contents = [Path(path).read_bytes() for path in paths]
    assert samples == list(zip(keys, contents, strict=True))
    ours = {name: data for shard in shards for name, data in read_all(shard).items()}
    members = [f'{key}.{name.split(".")[-1].lower()}' for key, name in zip(keys, names, strict=True)]
    assert ours == dict(zip(members, contents, strict=True))
    assert [len(read_index(shard)) for shard in shards] == [2, 2, 1]


def test_a_shard_ends_at_its_bytes(tmp_path):
    paths = write_files(tmp_path / 'images', ['a.jpg', 'b.jpg', 'c.jpg'])  # 5, 205 and 405 bytes
    pattern = write_shards(paths, str(tmp_path), str(tmp_path / 'out'), max_images=9, max_bytes=210)
    assert pattern == '{000000..000001}.tar'
    assert [len(read_index(shard)) for shard in expand_shards(pattern, str(tmp_path / 'out'))] == [2, 1]


def test_same_images_same_bytes(tmp_path):
    paths = write_files(tmp_path / 'images', ['a.jpg', 'b.jpg'])
    for out in ('1', '2'):
        write_shards(paths, str(tmp_path), str(tmp_path / out), max_images=9, max_bytes=1e9)
    for name in ('000000.tar', '000000.idx'):
        assert (tmp_path / '1' / name).read_bytes() == (tmp_path / '2' / name).read_bytes()


def test_index_line_by_hand(tmp_path):
    # A header has 512 bytes, and content is filled up to blocks of 512: 3 bytes at 512, 600 at 1536, 1 at 3072.
    files = {'x/a.jpg': b'123', 'x/a.seg.png': bytes(600), 'x/b c.jpg': b'1'}
    write_tar(tmp_path / '0.tar', files, format=tarfile.USTAR_FORMAT)
    assert write_index(str(tmp_path / '0.tar')) == 2
    expected = 'v1.2 2\njpg 512 3 x/a.jpg seg.png 1536 600 x/a.seg.png\njpg 3072 1 x/b c.jpg\n'
    assert (tmp_path / '0.idx').read_text() == expected


@pytest.mark.parametrize('tar_format', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_of_others(tmp_path, tar_format):
    shard = str(tmp_path / 'others.tar')
    long = 'n' * (90 if tar_format == tarfile.USTAR_FORMAT else 300)
    files = {f'{long}.jpg': b'long', f'{long}.cls': b'7', 'b.v1 2.jpg': b'spaces', './c.d/e.json': b'{}'}
    write_tar(shard, files | {'.hidden': b'1', 'no extension': b'2'}, format=tar_format)
    assert write_index(shard) == 3
    assert read_all(shard) == files


def test_cut_anywhere_is_noticed(tmp_path):
    write_tar(tmp_path / 'whole.tar', {'a.jpg': bytes(700), 'b.jpg': bytes(100)}, format=tarfile.USTAR_FORMAT)
    data = (tmp_path / 'whole.tar').read_bytes()
    shard = str(tmp_path / 'cut.tar')
    # Content ends at 2148, is filled up to 2560, and there a block of zeros marks the end.
    for length in (0, 100, 512, 600, 1536, 1600, 2048, 2148, 2560):
        (tmp_path / 'cut.tar').write_bytes(data[:length])
        with pytest.raises(ValueError, match=r'cut\.tar'):
            write_index(shard)
    (tmp_path / 'cut.tar').write_bytes(data)
    write_index(shard)
    (tmp_path / 'cut.tar').write_bytes(data[:2147])
    with pytest.raises(ValueError, match=r'cut\.tar.* is cut off: 2147 bytes, its index needs 2148'):
        read_index(shard)


def test_compressed_shard_is_refused(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w:gz') as archive:
        archive.addfile(tarfile.TarInfo('a.jpg'))
    with pytest.raises(ValueError, match=r'a\.tar.*no whole, uncompressed tar'):
        write_index(str(tmp_path / 'a.tar'))


@pytest.mark.parametrize('patterns', ['', []])
def test_no_shards_are_named(patterns):
    with pytest.raises(ValueError, match='names none'):
        expand_shards(patterns)


def test_index_must_fit(tmp_path):
    shard = str(tmp_path / 'a.tar')
    with pytest.raises(FileNotFoundError, match=r'No shard .*a\.tar'):
        read_index(shard)
    write_tar(shard, {'a.jpg': bytes(700), 'b.jpg': bytes(100)})
    with pytest.raises(FileNotFoundError, match=r'no index .*a\.idx.*index_shards\.py'):
        read_index(shard)
    write_index(shard)
    members = read_index(shard)
    text = (tmp_path / 'a.idx').read_text()
    for damaged in ('', 'v1.2 0\n', 'v1.0' + text[4:], text.rsplit('jpg ')[0], text.replace('jpg 512', 'jpg')):
        (tmp_path / 'a.idx').write_text(damaged)
        with pytest.raises(ValueError, match=r'a\.idx.*no whole index'):
            read_index(shard)
    other = str(tmp_path / 'other.tar')
    write_tar(other, {'a.jpg': bytes(701), 'b.jpg': bytes(100)})
    assert read_member(other, *members[1][1:]) == bytes(100)
    with pytest.raises(ValueError, match=r'other\.tar.* not the one of its index: no file of 700 bytes at 512'):
        read_member(other, *members[0][1:])
    with pytest.raises(ValueError, match='not the one of its index'):
        read_member(other, members[0].offset + 600, 10)


def test_nothing_is_overwritten_and_nothing_unfinished_stays(tmp_path):
    paths = write_files(tmp_path / 'images', ['a.jpg', 'b.jpg'])
    out = str(tmp_path / 'out')

    def interrupted():
        yield paths[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(interrupted(), str(tmp_path), out, max_images=1, max_bytes=1e9)
    assert [path.name for path in tmp_path.iterdir()] == ['images']
    write_shards(paths, str(tmp_path), out, max_images=9, max_bytes=1e9)
    with pytest.raises(FileExistsError, match=r'out. exists already'):
        write_shards(paths, str(tmp_path), out, max_images=9, max_bytes=1e9)
    for wrong in write_files(tmp_path, ['outside.jpg', 'images/name']):
        with pytest.raises(ValueError, match=r'must lie below .*images. and have an extension'):
            write_shards([wrong], str(tmp_path / 'images'), str(tmp_path / 'new'), max_images=9, max_bytes=1e9)


def test_webdataset_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'webdataset', None)
    with pytest.raises(ImportError, match='pip install webdataset'):
        expand_shards('a.tar')
