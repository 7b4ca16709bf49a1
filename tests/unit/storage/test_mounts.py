"""How mounts are read, and which are refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mishards.core.errors import StorageUnfit
from mishards.storage.mounts import WANTED, check_mount, check_mounts

_LOCAL = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard\n"
_OPTIONS = "rw,vers=4.2,rsize=1048576,namlen=255,hard,proto=tcp,timeo=600,sec=sys,addr=10.0.0.9"


def nfs(options: str, place: str = "/srv/data", kind: str = "nfs4") -> str:
    return f"{_LOCAL}90 22 0:51 / {place} rw,relatime - {kind} nas:/export/x {options}\n"


@pytest.mark.parametrize(
    "options",
    [
        "",
        ",lookupcache=pos",
        ",acdirmin=0,acdirmax=0",
        ",lookupcache=pos,acdirmin=0,acdirmax=5",
        ",lookupcache=all,acdirmin=0,acdirmax=0",
    ],
)
@pytest.mark.parametrize("kind", ["nfs", "nfs4"])
def test_a_mount_that_may_hide_what_others_wrote_is_refused(options: str, kind: str) -> None:
    with pytest.raises(StorageUnfit) as caught:
        check_mounts(Path("/srv/data/mishards"), nfs(_OPTIONS + options, kind=kind))
    for named in ("'/srv/data/mishards'", "'/srv/data'", WANTED, "timeo=600"):
        assert named in caught.value.message


@pytest.mark.parametrize(
    "options",
    [
        ",lookupcache=pos,acdirmin=0,acdirmax=0",
        ",lookupcache=none,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0",
        ",noac,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0",
    ],
)
def test_a_mount_that_asks_the_server_is_good(
    options: str, caplog: pytest.LogCaptureFixture
) -> None:
    check_mounts(Path("/srv/data"), nfs(_OPTIONS + options))
    assert not caplog.records


def test_the_deepest_mount_counts_and_of_several_at_one_place_the_last() -> None:
    inner = "91 90 254:2 / /srv/data/local rw - xfs /dev/vdb rw\n"
    check_mounts(Path("/srv/data/local/x"), nfs(_OPTIONS) + inner)
    check_mounts(Path("/srv/database"), nfs(_OPTIONS))
    check_mounts(
        Path("/srv/data"), nfs(_OPTIONS) + "92 90 254:2 / /srv/data rw - xfs /dev/vdb rw\n"
    )
    with pytest.raises(StorageUnfit, match="'/srv/my data'"):
        check_mounts(Path("/srv/my data/x"), nfs(_OPTIONS, place=r"/srv/my\040data"))


def test_a_soft_mount_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    options = _OPTIONS.replace("hard", "soft") + ",lookupcache=pos,acdirmin=0,acdirmax=0"
    with caplog.at_level(logging.WARNING):
        check_mounts(Path("/srv/data"), nfs(options))
    assert "-o hard" in caplog.text


def test_what_is_no_mount_is_passed_over_and_a_local_folder_is_good(tmp_path: Path) -> None:
    check_mounts(Path("/srv/data"), "")
    check_mounts(Path("/srv/data"), "odd\n\n1 2 - nfs\n1 2 3 4 / - nfs\n")
    check_mount(tmp_path)
