"""Code packed and unpacked: the same files give the same digest; nothing is written outside of the folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from arint.artifacts import pack, unpack
from arint.errors import NotFoundError, NotValidError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


CODE = {"price.py": "x = 1", "lib/tax.py": "y = 2", "lib/__init__.py": "", "data/rates.json": "{}",
        "data/deep/a.txt": "a", "notes.md": "",
        ".hidden/h.py": "", ".env": "SECRET=1", "venv/v.py": "", "own/pyvenv.cfg": "",
        "own/o.py": "", "home/node.json": "{}", "home/pki/secret.key": "", "home/artifacts/1/o.py": "",
        "__pycache__/c.py": "", "tests/test_price.py": ""}


def test_python_files_are_packed_and_what_is_included(tmp_path: Path) -> None:
    code = write(tmp_path / "code", CODE)
    digest, data = pack(code / "price.py", ["data/*.json", "**/*.txt"])
    unpack(data, tmp_path / "there" / digest, digest)
    assert names(tmp_path / "there" / digest) == {
        "price.py", "lib/tax.py", "lib/__init__.py", "data/rates.json", "data/deep/a.txt"}
    assert (tmp_path / "there" / digest / "lib/tax.py").read_text() == "y = 2"
    assert [file.name for file in (tmp_path / "there").iterdir()] == [digest], "nothing is left beside it"


def test_a_folders_name_includes_all_in_it(tmp_path: Path) -> None:
    digest, data = pack(write(tmp_path / "code", CODE) / "price.py", ["data"])
    unpack(data, tmp_path / "out", digest)
    assert {"data/rates.json", "data/deep/a.txt"} <= names(tmp_path / "out")


def test_the_same_code_has_the_same_digest_anywhere(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", CODE), write(tmp_path / "two", dict(reversed(CODE.items())))
    os.utime(two / "price.py", (1, 1))
    (two / "price.py").chmod(0o600)
    assert pack(one / "price.py") == pack(two / "price.py")
    write(two, {"lib/tax.py": "y = 3"})
    assert pack(one / "price.py")[0] != pack(two / "price.py")[0]


def test_what_is_there_already_is_left(tmp_path: Path) -> None:
    digest, data = pack(write(tmp_path / "code", CODE) / "price.py")
    unpack(data, tmp_path / "out", digest)
    inode = (tmp_path / "out").stat().st_ino
    unpack(data, tmp_path / "out", digest)
    assert (tmp_path / "out").stat().st_ino == inode


def test_a_wrong_digest_writes_nothing(tmp_path: Path) -> None:
    _, data = pack(write(tmp_path / "code", CODE) / "price.py")
    with pytest.raises(NotValidError, match="not what its digest names"):
        unpack(data, tmp_path / "out", "0" * 64)
    assert not (tmp_path / "out").exists()


def _evil(entry: tarfile.TarInfo) -> tuple[bytes, str]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return gzip.compress(stream.getvalue()), hashlib.sha256(stream.getvalue()).hexdigest()


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil-arint.py", "a/../../evil.py"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = 1
    data, digest = _evil(entry)
    with pytest.raises(NotValidError, match="no plain file within"):
        unpack(data, tmp_path / "in" / "out", digest)
    assert list((tmp_path / "in").iterdir()) == []
    assert not Path("/tmp/evil-arint.py").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("a")
    entry.type, entry.linkname = kind, "/etc/passwd"
    data, digest = _evil(entry)
    with pytest.raises(NotValidError):
        unpack(data, tmp_path / "out", digest)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [b"", b"not gzip", gzip.compress(b"no tar" * 1000)[:-9]],
                         ids=["empty", "not gzip", "cut off"])
def test_what_is_no_archive_is_not_valid(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(NotValidError):
        unpack(data, tmp_path / "out", "0" * 64)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with pytest.raises(NotValidError, match="too large"):
        unpack(gzip.compress(bytes(200 * 2**20), 1), tmp_path / "out", "0" * 64)


def test_missing_and_too_large(tmp_path: Path) -> None:
    code = write(tmp_path / "code", CODE)
    with pytest.raises(NotFoundError, match=r"there is no file gone\.py"):
        pack(code / "gone.py")
    with pytest.raises(NotFoundError, match="nothing matches"):
        pack(code / "price.py", ["../*.txt"])
    with (code / "big.py").open("wb") as stream:
        stream.truncate(33 * 2**20)
    with pytest.raises(NotValidError, match="larger than 32 MiB"):
        pack(code / "price.py")


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    code = write(tmp_path / "code", CODE)
    (code / "passwd.py").symlink_to("/etc/passwd")
    with pytest.raises(NotValidError, match="link that leads out"):
        pack(code / "price.py")
