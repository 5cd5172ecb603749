"""Files are written whole or not at all."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxrec.files import sha256_of, write_atomically


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "made" / "a.txt"
    write_atomically(path, lambda file: file.write(b"first"))

    def fail(file):
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_atomically(path, fail)
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]
    write_atomically(path, lambda file: file.write(b"second"))
    assert path.read_bytes() == b"second" and list(path.parent.iterdir()) == [path]


def test_many_may_write_one_path(tmp_path, monkeypatch):
    """Two hosts can have the same process id."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    path, texts = tmp_path / "a", [bytes([n]) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: write_atomically(path, lambda file: file.write(text)), texts))
    assert path.read_bytes() in texts and list(tmp_path.iterdir()) == [path]


def test_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
