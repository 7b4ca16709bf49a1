"""A start on storage that does not do what it has to, or is not the data's."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

import mishards
from mishards.core.errors import StorageUnfit


def test_a_folder_without_hard_links_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", refuse)
        with pytest.raises(StorageUnfit, match="hard links failed") as caught:
            mishards.start(tmp_path / "data")
    assert repr(str(tmp_path / "data")) in caught.value.message
    with mishards.start(tmp_path / "data"):
        assert len(list(tmp_path.glob("data/probes/*"))) == 1
    left = [
        path.name for path in tmp_path.rglob("*") if "probe" in path.name or "test" in path.name
    ]
    assert left == []


def test_an_empty_folder_in_the_place_of_the_data_is_refused_and_stays_empty(
    tmp_path: Path,
) -> None:
    metadata = f"sqlite:///{tmp_path}/metadata.db"
    with mishards.start(tmp_path / "data", cluster__metadata=metadata):
        pass
    shutil.move(tmp_path / "data", tmp_path / "unmounted")
    with pytest.raises(StorageUnfit, match="mounted"):
        mishards.start(tmp_path / "data", cluster__metadata=metadata)
    assert not (tmp_path / "data" / "identity.json").exists()
    shutil.rmtree(tmp_path / "data")
    shutil.move(tmp_path / "unmounted", tmp_path / "data")
    with mishards.start(tmp_path / "data", cluster__metadata=metadata):
        pass
