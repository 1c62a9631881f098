"""The folder of worker slots: whatever another user laid in its place is not used, and every worker agrees on the next."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from streaming_dd.config import Config
from streaming_dd.output import notices
from streaming_dd.process import worker
from streaming_dd.process.private_folder import private_folder

USER = os.getuid()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for /tmp: everybody may write, and it is sticky."""
    folder = tmp_path / "t"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    notices.reset()
    return folder


def modes(folder: Path, up_to: Path) -> list[int]:
    found = []
    while folder != up_to:
        found.append(stat.S_IMODE(folder.lstat().st_mode))
        folder = folder.parent
    return found


def test_every_level_is_the_users_alone(temporary: Path) -> None:
    """Each folder is 0700 whatever the umask, each lock file 0600."""
    before = os.umask(0)
    try:
        slot = worker.take_slot(Config(service="re ports/x"))
    finally:
        os.umask(before)
    folder = temporary / f"streaming-dd-{USER}" / "re_ports_x"
    assert slot.lock is not None
    assert slot.lock.name == str(folder / "slot-0.lock")
    assert modes(folder, temporary) == [0o700, 0o700]
    assert stat.S_IMODE((folder / "slot-0.lock").stat().st_mode) == 0o600
    second = worker.take_slot(Config(service="re ports/x"))
    assert (slot.name, second.name) == ("0", "1")
    slot.release()
    third = worker.take_slot(Config(service="re ports/x"))
    assert third.name == "0"
    second.release()
    third.release()


def test_the_runtime_folder_is_preferred(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives this user a folder of its own, nothing is in the one of everybody."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert private_folder("reports") == runtime / "streaming-dd" / "reports"
    assert not list(temporary.iterdir())


def test_a_link_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    """A link that lies where the folder should be, at any level, leads nowhere: another name is taken by everyone."""
    trap = tmp_path / "trap"
    trap.mkdir()
    own = temporary / f"streaming-dd-{USER}"
    own.symlink_to(trap)
    first, second = private_folder("reports"), private_folder("reports")
    assert first == second == temporary / f"streaming-dd-{USER}-2" / "reports"
    own.unlink()
    own.mkdir(mode=0o700)
    (own / "reports").symlink_to(trap)
    assert private_folder("reports") == temporary / f"streaming-dd-{USER}-2" / "reports"
    assert not list(trap.iterdir())


def test_a_slot_that_is_a_link_is_not_opened(temporary: Path, tmp_path: Path) -> None:
    """A lock file that is a link to another file leaves that file as it is; the worker does without a slot."""
    folder = private_folder("reports")
    (folder / "slot-0.lock").symlink_to(tmp_path / "victim")
    assert worker.take_slot(Config(service="reports")).name == "0"
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_not_used(temporary: Path, mode: int) -> None:
    """What others could have put there is not trusted."""
    own = temporary / f"streaming-dd-{USER}"
    own.mkdir()
    own.chmod(mode)
    assert private_folder("reports").parent.name == f"streaming-dd-{USER}-2"


def test_a_folder_that_others_may_read_is_closed(temporary: Path) -> None:
    """Where others could only look, the mode is put right."""
    own = temporary / f"streaming-dd-{USER}"
    own.mkdir()
    own.chmod(0o755)
    assert private_folder("reports").parent == own
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


@pytest.mark.skipif(USER != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(temporary: Path) -> None:
    """A folder of our name that another user made first is left alone."""
    own = temporary / f"streaming-dd-{USER}"
    own.mkdir(mode=0o700)
    os.chown(own, 12345, 12345)
    assert private_folder("reports").parent.name == f"streaming-dd-{USER}-2"


def test_a_parent_in_which_everybody_may_rename(temporary: Path) -> None:
    """Without the sticky bit anyone could put a folder of theirs in the place of ours: nothing there is used."""
    temporary.chmod(0o777)
    with pytest.raises(PermissionError, match="not sticky"):
        private_folder("reports")


def test_when_no_folder_can_be_used(
    temporary: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The worker is 0, and the log says what is wrong with which folder and which setting helps."""
    for name in ("", "-2", "-3", "-4", "-5"):
        (temporary / f"streaming-dd-{USER}{name}").symlink_to(tmp_path)
    assert worker.take_slot(Config(service="reports")).name == "0"
    assert f"streaming-dd-{USER}-5" in caplog.text
    assert "STREAMING_WORKER" in caplog.text


def test_a_name_of_ones_own_with_the_slot_in_it(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`{slot}` in the setting is the number on this host; two pods share no folder, and their names keep them apart."""
    first, second = (worker.take_slot(Config(service="s", worker="pod-a-{slot}")) for _ in range(2))
    assert [first.name, second.name] == ["pod-a-0", "pod-a-1"]
    (temporary / "other").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "other"))
    third = worker.take_slot(Config(service="s", worker="pod-b-{slot}"))
    assert third.name == "pod-b-0"
    assert worker.take_slot(Config(service="s", worker="fixed")).name == "fixed"
    for slot in (first, second, third):
        slot.release()
