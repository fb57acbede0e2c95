"""The lease: one owner per account on a host, whatever is killed, stopped or deleted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qtkit.store import lease as lease_module
from qtkit.store.lease import Lease, LeaseError, LeaseHeld, LeaseLost, holder, lease_folder
from tests.store.making import child, killed, said

HOLD = """
import sys
from qtkit.store.lease import Lease, LeaseLost
lease = Lease.acquire(sys.argv[1], "http://127.0.0.1:8710", home="/desk", gap_ms=int(sys.argv[2]))
print(lease.epoch, flush=True)
for line in sys.stdin:
    try:
        print("may write", lease.check(), flush=True)
    except LeaseLost as error:
        print("lost", error, flush=True)
        if line == "renew\\n":
            print("renewed", lease.renew(), lease.check(), flush=True)
"""


@pytest.fixture(autouse=True)
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QTKIT_LEASES", str(tmp_path / "leases"))
    monkeypatch.setattr(lease_module, "_PAUSE_S", 0.001)
    return tmp_path / "leases"


def tell(process: "subprocess.Popen[str]", line: str) -> str:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return said(process)


class Clock:
    """A clock that is moved by hand."""

    now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


def test_a_second_owner_is_told_who_the_first_is() -> None:
    assert holder("binance:main") is None
    with Lease.acquire("binance:main", home="/desk") as lease:
        with pytest.raises(
            LeaseHeld, match=rf"account binance:main is run by process {os.getpid()} since .* UTC in /desk; talk to that desk"
        ):
            Lease.acquire("binance:main")
        assert holder("binance:main") == lease.holder
        lease.announce("http://127.0.0.1:9")
        with pytest.raises(LeaseHeld, match=r"reachable at http://127\.0\.0\.1:9"):
            Lease.acquire("binance:main")
        with Lease.acquire("binance:other") as other:
            assert other.epoch == 1
    assert holder("binance:main") is None


def test_texts_call_an_account_as_people_do() -> None:
    clock = Clock()
    with Lease.acquire("venue-host-5f3a", name="main", home="/desk", gap_ms=1_000, clock_ms=clock) as lease:
        with pytest.raises(LeaseHeld, match=rf"^account main is run by process {os.getpid()} since"):
            Lease.acquire("venue-host-5f3a", name="main")
        with pytest.raises(LeaseHeld, match=rf"^account other is run by process {os.getpid()} as account main since .* in /desk"):
            Lease.acquire("venue-host-5f3a", name="other")
        clock.now_ms = 2_000
        with pytest.raises(LeaseLost, match=r"^account main: the loop stood still"):
            lease.check()


def test_kill_frees_the_account_at_once_and_the_epoch_rises() -> None:
    process = child(HOLD, "main", 10_000)
    assert said(process) == "1"
    owner = holder("main")
    assert owner is not None
    assert (owner.pid, owner.home, owner.endpoint, owner.epoch) == (process.pid, "/desk", "http://127.0.0.1:8710", 1)
    with pytest.raises(LeaseHeld) as caught:
        Lease.acquire("main")
    assert caught.value.holder == owner
    killed(process)
    assert holder("main") is None
    with Lease.acquire("main") as lease:
        assert lease.epoch == 2


def test_a_stopped_process_keeps_the_account_but_does_not_write_when_it_goes_on() -> None:
    process = child(HOLD, "main", 300)
    assert said(process) == "1"
    assert tell(process, "write") == "may write 1"
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    with pytest.raises(LeaseHeld):
        Lease.acquire("main")
    subprocess.run(["sleep", "0.4"], check=True)
    process.send_signal(signal.SIGCONT)
    assert tell(process, "write").startswith("lost account main: the loop stood still for 0.")
    assert tell(process, "write").startswith("lost account main: the loop stood still")
    assert tell(process, "renew").startswith("lost")
    assert said(process) == "renewed 2 2"
    owner = holder("main")
    assert owner is not None and owner.epoch == 2 and owner.pid == process.pid
    killed(process)


def test_a_gap_in_the_loop_loses_the_lease_until_it_is_renewed() -> None:
    clock = Clock()
    with Lease.acquire("main", gap_ms=1_000, clock_ms=clock) as lease:
        for clock.now_ms in (500, 1_500, 2_500):
            assert lease.check() == 1
        clock.now_ms = 3_501
        for _ in range(2):
            with pytest.raises(LeaseLost, match=r"stood still for 1\.0 s \(limit 1\.0 s\); nothing may be sent"):
                lease.check()
        clock.now_ms = 60_000
        assert lease.renew() == 2 and lease.check() == 2
    with pytest.raises(LeaseLost, match="was released"):
        lease.check()
    with pytest.raises(LeaseLost, match="was released"):
        lease.renew()


def test_the_epoch_rises_above_the_journal_even_if_the_file_is_lost(leases: Path) -> None:
    Lease.acquire("main", above=41).release()
    with Lease.acquire("main") as lease:
        assert lease.epoch == 43
    next(leases.iterdir()).write_bytes(b"torn")
    with Lease.acquire("main", above=43) as lease:
        assert lease.epoch == 44


def test_a_deleted_lock_file_ends_the_first_owner(leases: Path) -> None:
    lease = Lease.acquire("main")
    next(leases.iterdir()).unlink()
    with Lease.acquire("main", above=lease.epoch) as second:
        assert second.check() == 2
        with pytest.raises(LeaseLost, match="was deleted or replaced"):
            lease.check()
        lease.release()
        assert second.check() == 2


def test_a_forked_child_neither_writes_nor_holds_the_lock() -> None:
    lease = Lease.acquire("main")
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            lease.check()
            os.write(ready[1], b"wrote")
        except LeaseLost:
            os.write(ready[1], b"lost")
        os.read(go[0], 1)
        os._exit(0)
    assert os.read(ready[0], 5) == b"lost"
    assert lease.check() == 1
    lease.release()
    Lease.acquire("main").release()
    os.write(go[1], b"x")
    os.waitpid(pid, 0)


def test_asking_who_holds_it_disturbs_nobody() -> None:
    code = "import sys\nfrom qtkit.store.lease import holder\nprint('go', flush=True)\nwhile True: holder('main')"
    process = child(code)
    assert said(process) == "go"
    for _ in range(50):
        Lease.acquire("main").release()
    killed(process)


def test_the_folder_is_the_users_and_not_the_desks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("QTKIT_LEASES")
    assert lease_folder() == tmp_path / "state" / "qtkit" / "leases"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert lease_folder() == Path("/home/someone/.local/state/qtkit/leases")


def test_a_folder_that_cannot_be_used_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTKIT_LEASES", "/dev/null/leases")
    with pytest.raises(LeaseError, match="lease file /dev/null/leases"):
        Lease.acquire("main")


def test_account_names_are_not_mixed_up() -> None:
    with Lease.acquire("a:b"), Lease.acquire("a-b"), Lease.acquire("a/b"):
        assert sys.platform
