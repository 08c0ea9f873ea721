import os

import numpy as np
import pytest
from helpers.pictures import write_video

from mmcnv2.datasets import UnreadableImageError
from mmcnv2.inference.sources import Item, Stream, find_items, output_names
from mmcnv2.utils.errors import InputError, MissingFileError

GREY = np.full((4, 6, 3), 128, dtype=np.uint8)


def names(source):
    return [item.name for item in find_items(source)]


@pytest.fixture
def folder(tmp_path):
    for name in ('b.png', 'a/Ä b.JPG', 'a/c.tif', 'a/film.mp4', 'a/notes.txt', '.hidden.png', 'z.npy'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_folder_with_sub_folders(folder):
    assert names(folder) == names(str(folder)) == ['a/c.tif', 'a/film.mp4', 'a/Ä b.JPG', 'b.png', 'z.npy']
    assert [item.is_stream for item in find_items(folder)] == [False, True, False, False, False]


def test_file_of_any_ending(folder):
    assert find_items(folder / 'a/notes.txt') == [Item('notes.txt', str(folder / 'a/notes.txt'))]


def test_glob_names_files_below_its_fixed_part(folder):
    assert names(f'{folder}/**/*.tif') == ['a/c.tif']
    assert names(f'{folder}/a/*') == ['c.tif', 'film.mp4', 'Ä b.JPG']
    assert names(f'{folder}/a/*.txt') == ['notes.txt']  # asked for by its ending


def test_list_names_files_below_the_folder_of_all(folder):
    found = find_items([folder / 'b.png', str(folder / 'a/c.tif'), GREY, folder / 'a'])
    assert [item.name for item in found] == ['b.png', 'a/c.tif', 'array_000002', 'c.tif', 'film.mp4', 'Ä b.JPG']
    assert found[2].array is GREY


def test_array_and_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_items(GREY)[0].array is GREY
    assert find_items(3) == [Item('camera_3', camera=3)] and find_items('3') == find_items(3)


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('nowhere', "'nowhere' does not exist"),
        ('empty', 'no images or videos in it'),
        ('*.png', 'no file of this kind'),
        ([], 'an empty list'),
        (None, 'got NoneType'),
        (True, 'got bool'),
    ],
)
def test_refusals(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    os.mkdir('empty')
    with pytest.raises(InputError, match=message):
        find_items(source)
    if source in ('nowhere', 'empty', '*.png'):
        with pytest.raises(MissingFileError):
            find_items(source)


def test_output_names_are_of_one_item_each():
    items = [Item(name, f'/{name}') for name in ('a/b.jpg', 'a/b.png', 'a/c.d.tif', 'A/C.D.JPG', 'e.jpg', 'e.jpg')]
    assert output_names(items) == ['a/b.jpg', 'a/b.png', 'a/c.d.tif', 'A/C.D.JPG', 'e.jpg', 'e.jpg_2']
    assert output_names(items[:1] + items[4:5]) == ['a/b', 'e']
    assert output_names([Item('array', array=GREY)]) == ['array']


def test_stream(tmp_path):
    frames = [np.full((32, 48, 3), (value, 0, 255 - value), dtype=np.uint8) for value in (0, 100, 200)]
    write_video(tmp_path / 'film.avi', frames)
    stream = Stream(Item('film.avi', str(tmp_path / 'film.avi')))
    assert (stream.rate, stream.count) == (10, 3)
    read = list(stream)
    assert len(read) == 3
    for frame, expected in zip(read, frames, strict=True):  # RGB; JPEG changes colours a little
        np.testing.assert_allclose(frame.astype(int), expected, atol=6)


def test_streams_that_cannot_be_read(tmp_path):
    (tmp_path / 'bad.mp4').write_bytes(b'no video')
    with pytest.raises(UnreadableImageError, match=r'bad\.mp4.*not a video'):
        Stream(Item('bad.mp4', str(tmp_path / 'bad.mp4')))
    with pytest.raises(InputError, match='camera 99 cannot be opened'):
        Stream(Item('camera_99', camera=99))
