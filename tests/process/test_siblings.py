"""Siblings in a private folder: who lives, who is named as silent, and that nothing is lost, counted twice or waited for."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming_dd.config import Config
from streaming_dd.output import notices
from streaming_dd.process.siblings import Siblings, calls, identity, shelf, siblings
from streaming_dd.process.siblings.identity import Process
from streaming_dd.process.siblings.shelf import Member, Shelf, clean_up

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="siblings need /proc")


class Said:
    """The content of a worker in these tests: numbers, joined by commas."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.buried: list[tuple[bytes, list[bytes]]] = []

    def state(self, *, last: bool) -> bytes:
        return b"%d" % self.number

    def merge(self, states: list[bytes]) -> bytes:
        return b",".join(sorted(b",".join(states).split(b",")))

    def died(self, state: bytes, living: list[bytes]) -> None:
        self.buried.append((state, living))


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a temporary folder of this test's own, as deep as a long path may be."""
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr(calls, "_PATIENCE", 30.0)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    notices.reset()


Join = Callable[..., Siblings]


@pytest.fixture
def join() -> Iterator[Join]:
    """Join the workers named `tests`; several of one process stand for several workers."""
    made: list[Siblings] = []

    def make(slot: str, content: Said | None = None, **settings: Any) -> Siblings:
        one = Siblings(Config(service="s", siblings="tests", **settings), content or Said())
        one.handle("echo", lambda question: str(question["text"]).encode())
        one.join(slot)
        made.append(one)
        return one

    yield make
    for one in made:
        one.leave()


def folder_of(one: Siblings) -> Path:
    assert one._shelf is not None
    return one._shelf.folder


@pytest.fixture
def dead() -> Process:
    """A process that has ended."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as process:
        found = identity.look(process.pid)
    assert found is not None
    return found.process


# --- who is who -----------------------------------------------------------------------------------------------


def test_a_pid_that_was_given_again_is_another_process() -> None:
    """Pid and start time together are a process: with another start time it has ended."""
    own = identity.look(os.getpid())
    assert own is not None
    assert identity.alive(own.process) == own
    assert identity.alive(Process(own.process.pid, own.process.start - 1)) is None


@pytest.mark.process
def test_a_process_that_is_not_yet_waited_for_has_ended() -> None:
    """A killed worker whose master has not looked yet (a zombie) is dead."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = identity.look(child.pid)
    assert found is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identity.look(child.pid) is None
    child.wait()
    assert child.stdin is not None
    child.stdin.close()


@pytest.mark.parametrize(
    "name", ["master-1-2", "master-x-2-3", "named-a-b", "slot-0.lock", "master-1-2-ffffffff"]
)
def test_folders_of_other_places_have_no_master(name: str) -> None:
    """Names of other kinds, of other machines, containers and boots are nobody's here."""
    assert identity.master_of(name) is None


def test_a_worker_without_a_master_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single process makes no folder and no thread; neither does one that was told to stand alone."""
    monkeypatch.delitem(sys.modules, "gunicorn.arbiter", raising=False)
    before = threading.enumerate()
    for setting in ("auto", "off"):
        one = Siblings(Config(service="s", siblings=setting), Said())
        one.join("0")
        one.job(0)
        assert not one.joined
        assert one.ask("echo", 1.0, text="x").by_slot == {}
    assert not list(Path(tempfile.gettempdir()).iterdir())
    new = [thread.name for thread in threading.enumerate() if thread not in before]
    assert [name for name in new if name.startswith("streaming-dd")] == []


@pytest.mark.parametrize(
    ("setting", "proc", "why"),
    [("off", True, "STREAMING_SIBLINGS=off"), ("auto", False, "this system tells no start times in /proc")],
)
def test_workers_that_cannot_meet_say_so_once(
    setting: str,
    proc: bool,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A master's child that stands alone names the reason, as information, whenever it comes to serve again."""
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", sys)
    if not proc:
        monkeypatch.setattr(identity, "look", lambda pid: None)
    caplog.set_level("INFO")
    for _ in range(2):
        Siblings(Config(service="s", siblings=setting), Said()).join("0")
    said = [record for record in caplog.records if "cannot meet" in record.message]
    assert [(record.levelname, why in record.message) for record in said] == [("INFO", True)]


# --- asking ---------------------------------------------------------------------------------------------------


def test_everyone_answers_everyone(join: Join) -> None:
    """64 workers, the answer of one being large, are asked at once; the one who asks is not among them."""
    workers = [join(str(number)) for number in range(64)]
    workers[5].handle("echo", lambda question: b"y" * 3_000_000)
    answers = workers[0].ask("echo", 30.0, text="x")
    assert set(answers.by_slot) == {str(number) for number in range(1, 64)}
    assert {len(answer) for answer in answers.by_slot.values()} == {1, 3_000_000}
    assert answers.silent == []
    assert workers[1].ask("echo", 30.0, "7", text="z").by_slot == {"7": b"z"}
    assert workers[1].ask("echo", 30.0, "77", text="z").by_slot == {}


def test_what_was_just_published_is_the_answer(join: Join) -> None:
    """A worker is not asked for what it has published a moment ago; it is for what is older, or of the future."""
    first, said = join("0"), Said(7)
    second = join("1", said)
    second.handle("echo", lambda question: b"asked")

    def answer(fresh: float) -> bytes:
        return first.ask("echo", 30.0, fresh=fresh, text="x").by_slot["1"]

    published = folder_of(second) / f"{second._name}.state"
    assert answer(60) == b"7"
    assert answer(-1) == b"asked"
    for age in (120, -120):  # and where a clock was set back
        os.utime(published, (time.time() - age,) * 2)
        assert answer(60) == b"asked"
    second.publish()  # nothing has changed: it says so
    assert answer(60) == b"7"
    said.number = 8
    second.publish()
    assert answer(60) == b"8"
    second.leave()
    assert first.ask("echo", 30.0, fresh=60, text="x").by_slot == {}


def test_workers_of_one_slot_are_told_apart(join: Join) -> None:
    """Where a setting gives all the same slot, none hides another."""
    first, _, _ = join("a"), join("a"), join("a")
    assert set(first.ask("echo", 30.0, text="x").by_slot) == {"a", "a.2"}


def test_one_that_fails_or_does_not_know_says_so(join: Join) -> None:
    """An error in a worker's answer is said in its log, and named to whoever asked."""
    first, second = join("0"), join("1", Said(7))
    second.handle("echo", lambda question: bytes(1 // 0))
    (silent,) = first.ask("echo", 30.0, text="x").silent
    assert (silent.slot, silent.why, silent.state) == ("1", "it failed: ZeroDivisionError", b"7")
    (silent,) = first.ask("nonsense", 30.0).silent
    assert silent.why == "it does not know the question" or "a moment ago" in silent.why


def test_one_that_hangs_is_waited_for_once(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the limit the others' answers are there, with what the one that hangs had published; it is then passed over."""
    first, hanging, _ = join("0"), join("1", Said(5)), join("2")
    monkeypatch.setattr(siblings, "_PENANCE", 600.0)
    go = threading.Event()
    hanging.handle("echo", lambda question: b"%d" % go.wait(200))
    try:
        began = time.monotonic()
        answers = first.ask("echo", 4.0, text="x")
        assert time.monotonic() - began < 40
        assert answers.by_slot == {"2": b"x"}
        assert [(one.slot, one.why, one.state) for one in answers.silent] == [
            ("1", "did not answer within 4 s", b"5")
        ]
        (silent,) = first.ask("echo", 1000.0, text="x").silent
        assert silent.why == "did not answer a moment ago"
    finally:
        go.set()


CHILD = """
import sys
from streaming_dd.config import Config
from streaming_dd.process.siblings import Siblings
class Said:
    def state(self, *, last): return b"41" if last else b"40"
    def merge(self, states): return b",".join(states)
    def died(self, state, living): pass
one = Siblings(Config(service="s", siblings="tests"), Said())
one.handle("echo", lambda question: b"child")
one.join("9")
print("joined", one.joined, flush=True)
if input() == "leave":
    one.leave()
"""


@contextlib.contextmanager
def another() -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own."""
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    environment.pop("XDG_RUNTIME_DIR", None)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "joined True\n"
            yield child
        finally:
            child.kill()


def test_one_that_is_stopped_is_not_waited_for(join: Join) -> None:
    """A stopped worker is named at once, with what it had published; when it goes on it answers again."""
    first = join("0")
    with another() as child:
        assert first.ask("echo", 30.0).by_slot == {"9": b"child"}
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        (silent,) = first.ask("echo", 1000.0).silent
        assert (silent.slot, silent.pid, silent.why, silent.state) == ("9", child.pid, "is stopped", b"40")
        child.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, child.pid, os.WCONTINUED)
        assert first.ask("echo", 30.0).by_slot == {"9": b"child"}


@pytest.mark.parametrize(("word", "state"), [("leave", b"41"), ("", b"40")])
def test_one_that_has_ended_is_kept(word: str, state: bytes, join: Join) -> None:
    """What a worker had counted stays, whether it left in order or not; buried once, it is counted once."""
    content = Said()
    first, second = join("0", content), join("1")
    with another() as child:
        if word:
            child.communicate(word + "\n")
        else:
            child.kill()
    for asked in (first, second):
        answers = asked.ask("echo", 30.0, text="x")
        assert (answers.ended, answers.silent) == ([state], [])
        assert "9" not in answers.by_slot
    first.bury()
    second.bury()
    assert content.buried == [(state, [b"0", b"0"])]
    for asked in (first, second):
        assert asked.ask("echo", 30.0, text="x").ended == [state]
    assert not [name for name in os.listdir(folder_of(first)) if name.endswith("-9.state")]


def test_two_that_begin_at_once_find_each_other(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes away what an earlier server has left leaves what another worker of this one has just laid there."""
    earlier = join("0")
    earlier.leave()
    (folder_of(earlier) / "1-2-3-0.state").touch()
    others = ["1"]

    def meanwhile(process: Process) -> None:
        if others:
            join(others.pop())

    monkeypatch.setattr(shelf, "alive", meanwhile)
    first = join("2")
    monkeypatch.undo()
    assert not (folder_of(first) / "1-2-3-0.state").exists()
    assert first.ask("echo", 30.0, text="x").by_slot == {"1": b"x"}


# --- the files ------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_one_that_is_stopped_in_the_middle_of_a_burial_harms_nobody(
    tmp_path: Path, dead: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the rename and the removal of the files a reader counts the dead once; the next burial goes on."""
    kept = Shelf(tmp_path)
    name = f"{dead}-0-3"
    kept.put(name, b"7")
    removed: list[object] = []
    monkeypatch.setattr(shelf.os, "unlink", removed.append)
    merge = Said().merge
    assert [state for _, state in kept.fold(merge)] == [b"7"]
    monkeypatch.undo()
    assert removed
    assert (tmp_path / f"{name}.state").exists()
    assert name in kept.ended().names
    assert kept.ended().body == b"7"
    assert kept.fold(merge) == []
    assert kept.ended().body == b"7"
    assert not (tmp_path / f"{name}.state").exists()


@pytest.mark.process
def test_while_another_buries(tmp_path: Path, dead: Process) -> None:
    """A worker that holds the lock, perhaps stopped, keeps nobody from answering: the dead are read as they are."""
    import fcntl

    kept = Shelf(tmp_path)
    kept.put(f"{dead}-0-3", b"7")
    with open(tmp_path / "lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert kept.fold(Said().merge) == []
    assert kept.get(Member(f"{dead}-0-3", dead, "3")) == b"7"
    assert [state for _, state in kept.fold(Said().merge)] == [b"7"]


def test_a_full_disk(join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be published is still told to whoever asks; the log says what that means."""
    content = Said(1)
    first, second = join("0"), join("1", content)
    second.handle("numbers", lambda question: second.publish())
    content.number = 2

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf.os, "replace", full)
    assert first.ask("numbers", 30.0).by_slot == {"1": b"2"}
    assert "No space left on device" in caplog.text
    assert not [name for name in os.listdir(folder_of(first)) if name.endswith(".new")]
    monkeypatch.undo()
    assert first.ask("numbers", 30.0).by_slot == {"1": b"2"}
    assert (folder_of(second) / f"{second._name}.state").read_bytes() == b"2"


def test_a_folder_that_is_gone(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever takes the folder away silences the siblings, not the worker."""
    import shutil

    first = join("0")
    join("1")
    shutil.rmtree(folder_of(first))
    assert first.ask("echo", 1.0, text="x").by_slot == {}
    first.publish()
    first.bury()
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    "name",
    ["", "x", "1-2-3", "a-2-3-0.state", "1-2-3-0", "-1-2-3-0.state", "ended", "lock", "9-9-9-9.sock.x"],
)
def test_files_that_are_none_of_ours(name: str, join: Join) -> None:
    """Whatever else lies in the folder is passed over."""
    first = join("0")
    join("1")
    if name:
        (folder_of(first) / name).write_bytes(b"\xff\x00 nonsense")
    answers = first.ask("echo", 30.0, text="x")
    assert answers.by_slot == {"1": b"x"}
    first.bury()


@pytest.mark.process
def test_folders_of_servers_that_have_ended_are_taken_away(tmp_path: Path, dead: Process) -> None:
    """A folder goes with its master and its last worker; one with a worker that lives stays, as does every other one."""
    place = identity._place()
    gone, orphaned = (
        tmp_path / f"master-{dead}-{place}",
        tmp_path / f"master-{dead.pid}-{dead.start + 1}-{place}",
    )
    for folder in (gone, orphaned, tmp_path / "named-x-y", tmp_path / f"master-{dead}-00000000"):
        folder.mkdir()
        Shelf(folder).put(f"{dead}-0-0", b"1")
    own = identity.look(os.getpid())
    assert own is not None
    Shelf(orphaned).put(f"{own.process}-0-1", b"1")
    (tmp_path / "slot-0.lock").touch()
    before = set(tmp_path.iterdir())
    clean_up(tmp_path, tmp_path / "own")
    assert before - set(tmp_path.iterdir()) == {gone}


# --- sockets --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(path: Path, answer: bytes | None) -> Iterator[None]:
    """A socket in the folder that is none of ours: it sends something, or nothing, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listening:
        with calls._short(path) as name:
            listening.bind(name)
        listening.listen(1)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                if answer is not None:
                    connection.recv(1000)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SDD9\x01\x00\x00\x00\x00", "speaks another version"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks another version"),
        (b"SD", "speaks another version"),
        (struct.pack("<4sI", calls.MAGIC, 2**31), "speaks another version"),
        (b"", "hung up"),
        (None, "hung up"),
        (struct.pack("<4sI", calls.MAGIC, 4) + b"\x01bad", "bad"),
        (struct.pack("<4sI", calls.MAGIC, 100) + b"\0half", "hung up"),
    ],
)
def test_a_sibling_that_is_none(answer: bytes | None, why: str, join: Join) -> None:
    """One that speaks another version, or something else, or half of it, is named; the others' answers are there."""
    first, _ = join("0"), join("1")
    own = identity.look(os.getpid())
    assert own is not None
    with answering(folder_of(first) / f"{own.process}-99-5.sock", answer):
        answers = first.ask("echo", 30.0, text="x")
    assert answers.by_slot == {"1": b"x"}
    assert [(one.slot, one.why) for one in answers.silent] == [("5", why)]


def test_a_socket_that_nobody_listens_on(join: Join) -> None:
    """A stale socket is a worker that is gone: it is not silent, and not waited for."""
    first, _ = join("0"), join("1")
    own = identity.look(os.getpid())
    assert own is not None
    with (
        socket.socket(socket.AF_UNIX) as stale,
        calls._short(folder_of(first) / f"{own.process}-99-5.sock") as name,
    ):
        stale.bind(name)
    answers = first.ask("echo", 1000.0, text="x")
    assert (set(answers.by_slot), answers.silent) == ({"1"}, [])


def test_a_socket_whose_queue_is_full(join: Join) -> None:
    """One that takes no more connections is silent at once."""
    first, _ = join("0"), join("1")
    own = identity.look(os.getpid())
    assert own is not None
    waiting = []
    with (
        socket.socket(socket.AF_UNIX) as full,
        calls._short(folder_of(first) / f"{own.process}-99-5.sock") as name,
    ):
        full.bind(name)
        full.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(name)
        answers = first.ask("echo", 1000.0, text="x")
        for one in waiting:
            one.close()
    assert set(answers.by_slot) == {"1"}
    assert [one.why for one in answers.silent] == ["does not answer"]


def test_another_user_is_not_answered(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides look at the other's user: a foreign one gets no answer, and none is asked of one."""
    first, _ = join("0"), join("1")
    user = os.getuid()
    monkeypatch.setattr(calls.os, "getuid", lambda: user + 1)
    (silent,) = first.ask("echo", 30.0, text="x").silent
    assert silent.why == "is another user's"


@pytest.mark.parametrize(
    "frame", [b"", b"SDD1", b"GET / HTTP/1.0\r\n\r\n", struct.pack("<4sI", b"SDD1", 2**31), b"SDD1\2\0\0\0{]"]
)
def test_questions_that_are_none(frame: bytes, join: Join) -> None:
    """Whatever comes over a socket, the worker goes on to answer the next."""
    first, second = join("0"), join("1")
    with socket.socket(socket.AF_UNIX) as client:
        with calls._short(folder_of(second) / f"{second._name}.sock") as name:
            client.connect(name)
        client.sendall(frame)
        client.shutdown(socket.SHUT_WR)
        client.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    assert first.ask("echo", 30.0, text="x").by_slot == {"1": b"x"}


# --- the same with a real disk and a real user ------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 256 kB as the temporary folder; skips where this process may not mount one."""
    place = tmp_path / "small"
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", str(place)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


class Large(Said):
    """A content of so many bytes."""

    def state(self, *, last: bool) -> bytes:
        return b"x" * self.number


def test_a_disk_that_is_really_full(small_disk: Path, join: Join, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit is told to whoever asks, half a file is left to nobody, and it is published once there is room."""
    content = Large(1_000)
    first, second = join("0"), join("1", content)
    second.handle("numbers", lambda question: second.publish())
    fill = small_disk / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    content.number = 20_000
    (answer,) = first.ask("numbers", 30.0).by_slot.values()
    assert len(answer) == 20_000
    assert "No space left on device" in caplog.text
    assert not [name for name in os.listdir(folder_of(first)) if name.endswith(".new")]
    published = folder_of(second) / f"{second._name}.state"
    assert published.read_bytes() == b"x" * 1_000
    fill.unlink()
    first.ask("numbers", 30.0)
    assert published.read_bytes() == b"x" * 20_000


FOREIGNER = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
os.chdir(sys.argv[1])
listening.bind(sys.argv[2])
os.setuid(65534)
listening.listen()
print("ready", flush=True)
connection, _ = listening.accept()
sys.stdin.read()
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_a_foreign_users_socket(join: Join) -> None:
    """A socket in the folder behind which another user listens is named as that, and is told nothing."""
    first, _ = join("0"), join("1")
    own = identity.look(os.getpid())
    assert own is not None
    name = f"{own.process}-99-5.sock"
    command = [sys.executable, "-c", FOREIGNER, str(folder_of(first)), name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as foreigner:
        assert foreigner.stdout is not None
        assert foreigner.stdout.readline() == b"ready\n"
        answers = first.ask("echo", 30.0, text="x")
        assert answers.by_slot == {"1": b"x"}
        assert [(one.slot, one.why) for one in answers.silent] == [("5", "is another user's")]
