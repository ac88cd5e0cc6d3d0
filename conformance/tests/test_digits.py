import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from conformance.case.listing import default_root
from conformance.errors import InvalidData
from conformance.run import digits
from conformance.run.digits import OFFICIAL, download, read_digits, read_idx

VENDORED = default_root() / "training" / "mnist"


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    """An array as a gzip'd idx file, with another magic number if one is given."""
    head = struct.pack(">I", 0x0800 + array.ndim if magic is None else magic)
    return gzip.compress(head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes(), mtime=0)


def small_set(folder: Path) -> None:
    images = np.arange(3 * 784, dtype=np.uint64).astype(np.uint8).reshape(3, 28, 28)
    for name in OFFICIAL:
        content = images if "images" in name else np.array([1, 9, 0], np.uint8)
        (folder / name).write_bytes(idx(content))


def test_the_vendored_digits_are_the_first_of_the_official_files():
    found = read_digits(VENDORED)
    assert found.train_images.shape == (4000, 28, 28)
    assert found.test_images.shape == (1000, 28, 28)
    # The first labels of the official files, as published.
    assert found.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert found.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert found.digest == "719ca1f6607feaf0"


def test_images_and_labels_are_read_in_order(tmp_path):
    small_set(tmp_path)
    found = read_digits(tmp_path)
    assert found.train_images[1, 0, 0] == 784 % 256
    assert found.test_labels.tolist() == [1, 9, 0]


def test_the_subset_is_not_the_official_set():
    with pytest.raises(InvalidData, match=r"train-images-idx3-ubyte\.gz: its sha256 is [0-9a-f]{64}; the official"):
        read_digits(VENDORED, official=True)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidData, match=r"train-images.*cannot be read.*expected the four files"):
        read_digits(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip at all", "cannot be decompressed"),
        (idx(np.zeros((2, 28, 28), np.uint8))[:-9], "cannot be decompressed"),
        (gzip.compress(b"\x00\x00", mtime=0), "cut off after 2 bytes"),
        (gzip.compress(struct.pack(">II", 0x0803, 2), mtime=0), "within its sizes"),
        (
            gzip.compress(struct.pack(">IIII", 0x0803, 2, 28, 28) + bytes(100), mtime=0),
            "100 bytes after its sizes; 2x28x28",
        ),
        (gzip.compress(struct.pack(">II", 0x0801, 2) + bytes(3), mtime=0), "3 bytes after its sizes"),
        (idx(np.zeros(2, np.uint8), magic=0x0D01), "starts with 00000d01"),
        (idx(np.zeros((2, 2), np.uint8)), "starts with 00000802"),
    ],
)
def test_what_is_no_whole_idx_file_is_refused(content, message):
    with pytest.raises(InvalidData, match=f"x.gz: .*{message}"):
        read_idx(content, "x.gz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t10k-labels-idx1-ubyte.gz", np.array([1, 2], np.uint8), "expected a label for each of 3"),
        ("t10k-labels-idx1-ubyte.gz", np.array([1, 2, 10], np.uint8), "expected digits 0 to 9"),
        ("train-images-idx3-ubyte.gz", np.zeros((3, 28, 27), np.uint8), "expected images of 28x28"),
        ("train-images-idx3-ubyte.gz", np.zeros(3, np.uint8), "expected images of 28x28"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, name, content, message):
    small_set(tmp_path)
    (tmp_path / name).write_bytes(idx(content))
    with pytest.raises(InvalidData, match=message):
        read_digits(tmp_path)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror of four small files, whose digests are taken for the official ones."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    small_set(folder)
    known = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in OFFICIAL}
    monkeypatch.setattr(digits, "OFFICIAL", known)
    return folder


def test_a_download_brings_every_file_and_what_is_there_stays(tmp_path, mirror):
    target = tmp_path / "here"
    assert [path.name for path in download(target, mirror.as_uri())] == list(OFFICIAL)
    read_digits(target, official=True)
    (mirror / "t10k-labels-idx1-ubyte.gz").unlink()
    assert len(list(download(target, mirror.as_uri()))) == 4


def test_a_download_with_a_wrong_digest_leaves_nothing(tmp_path, mirror):
    first = next(iter(OFFICIAL))
    (mirror / first).write_bytes(b"something else")
    target = tmp_path / "here"
    with pytest.raises(InvalidData, match="its sha256 is"):
        list(download(target, mirror.as_uri()))
    assert list(target.iterdir()) == []


def test_a_mirror_without_the_files_is_told(tmp_path):
    with pytest.raises(InvalidData, match="cannot be fetched"):
        list(download(tmp_path / "here", (tmp_path / "nowhere").as_uri()))
