"""A planted key is looked for in everything that a session leaves behind: files, output, tracebacks, objects, notebooks, process list."""

import json
import logging
import os
import pickle
import secrets
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from qtkit.access import enter
from qtkit.account import Account
from qtkit.desk import gateway_of
from qtkit.home import Secret
from qtkit.keys import Keys, kernel, keys_of, refuse_in_kernel
from qtkit.settings import Paths, Settings
from qtkit.venue.gateway import Unavailable
from tests.cli_rig import ROOT, SOON_S, exchange, process, until

SPELT = 8  # so many letters of a secret in a row are a leak, too


def planted() -> str:
    return "canary" + secrets.token_hex(29)


def pieces(secret: str) -> tuple[str, str]:
    """The head and the tail of a secret: who cuts it to show it a little, shows it."""
    return secret[6 : 6 + SPELT], secret[-SPELT:]


def leaks(texts: dict[str, str], planted: tuple[str, ...]) -> list[str]:
    return sorted({name for name, text in texts.items() for secret in planted for piece in pieces(secret) if piece in text})


def files_of(*folders: Path, apart: tuple[Path, ...] = ()) -> dict[str, str]:
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path not in apart]
    return {str(path): path.read_bytes().decode("latin-1") for path in found}


class Watched:
    """Command lines of all processes of this user, read over and over while a session runs."""

    def __init__(self) -> None:
        self.lines: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.lines.add(path.read_bytes().replace(b"\0", b" ").decode("latin-1"))
                except OSError:
                    continue  # it ended meanwhile


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the process list is read from /proc")
def test_a_session_leaves_no_trace_of_a_key(tmp_path: Path) -> None:
    """Keys in the environment and in files; a desk, a check, a notebook run and failing calls, all of them with the real thing."""
    with exchange(tmp_path, "--incident") as env:
        keys = {name: json.loads((Path(env["QTKIT_HOME"]) / "keys" / f"{name}.json").read_text()) for name in ("stranger", "reader")}
        home, wrong = tmp_path / "user" / ".qtkit", planted()
        (home / "keys").mkdir(mode=0o700, parents=True)
        (home.parent / "qtkit.toml").write_text('tick_seconds = 0.5\n[accounts.main]\nkind = "live"\n[accounts.other]\nkind = "demo"\n')
        held = home / "keys" / "main.json"
        held.touch(0o600)
        held.write_text(json.dumps(keys["stranger"]))
        base = env["QTKIT_ACCOUNTS__PAPER__BASE_URL"]
        plain = {name: value for name, value in env.items() if not name.startswith("QTKIT_")} | {"QTKIT_HOME": str(home)}
        plain |= {
            "QTKIT_ACCOUNTS__MAIN__BASE_URL": base,
            "QTKIT_ACCOUNTS__OTHER__BASE_URL": base,
        }
        plain |= {"QTKIT_READ_KEY_MAIN": keys["reader"]["api_key"], "QTKIT_READ_SECRET_MAIN": keys["reader"]["secret"]}
        plain |= {"QTKIT_KEY_OTHER": keys["stranger"]["api_key"], "QTKIT_SECRET_OTHER": wrong}
        said: dict[str, str] = {}

        def qtkit(*arguments: str, **more: str) -> int:
            line = [sys.executable, "-m", "qtkit", *arguments]
            done = subprocess.run(line, env={**plain, **more}, cwd=ROOT, capture_output=True, text=True, timeout=2 * SOON_S)
            said[" ".join(arguments) + repr(more.keys())] = done.stdout + done.stderr
            return done.returncode

        with Watched() as watched, process("desk", "--account", "main", env=plain, log=tmp_path / "desk.out"):
            until(lambda: (home / "accounts" / "main" / "endpoint.token").exists(), "the desk", tmp_path / "desk.out")
            assert qtkit("check", "--account", "main") == 1
            assert qtkit("preview", "--account", "main", "--json") == 0
            assert qtkit("config", "show") == 0
            assert qtkit("check", "--account", "other") == 1, "the secret is not the key's"
            assert "-1022" in said[next(name for name in said if "other" in name)]
            assert qtkit("config", "show", QTKIT_ACCOUNTS__MAIN__KEYS=wrong) == 1
        assert qtkit("run", "live_check", "-p", "account=main") == 3, "without a desk a child of the kernel looks, with the read-only key"
    secret = (wrong, *(pair["secret"] for pair in keys.values()))
    apikey = tuple(pair["api_key"] for pair in keys.values())
    left = files_of(tmp_path / "user", tmp_path / "state", apart=(held,)) | {"desk": (tmp_path / "desk.out").read_text()}
    assert any(name.endswith("run.ipynb") for name in left) and any("desk.log" in name or name == "desk" for name in left)
    assert leaks(said | left, secret + apikey) == []
    assert leaks(files_of(tmp_path / "user"), secret) == [str(held)], "what is there is found"
    assert leaks({line: line for line in watched.lines}, secret + apikey) == []
    assert len(watched.lines) > 3 and any("qtkit" in line for line in watched.lines)


async def test_a_failing_call_tells_no_key(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors with all that hangs on them, tracebacks with their local variables, ccxt's verbose log, objects that hold the keys."""
    keys = Keys(planted(), Secret(planted()), "environment")
    account = Account(name="main", kind="live", base_url="http://127.0.0.1:9")
    gateway: Any = gateway_of(account, keys, Settings(), writes=True)
    gateway._client.verbose = True
    caplog.set_level(logging.DEBUG)
    texts = {"keys": repr(keys) + str(keys) + f"{[keys]}", "gateway": repr(gateway) + str(gateway)}
    try:
        with pytest.raises(Unavailable) as failure:
            await enter(gateway, account, keys, writes=False)
        texts["error"] = "".join(whole(failure.value))
        texts["traceback"] = "".join(frames(failure.value))
        assert "self = <qtkit.venue.ccxt_session.Session object" in texts["traceback"]
        for thing in (gateway, gateway._session, keys, keys.secret):
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
                pickle.dumps(thing)
            with pytest.raises(TypeError):
                vars(thing)
    finally:
        await gateway.close()
    texts["log"] = caplog.text + "".join(capsys.readouterr())
    assert leaks(texts, (keys.secret.reveal(), keys.api_key)) == []


def whole(fault: BaseException | None) -> Iterator[str]:
    """An error with everything that hangs on it."""
    if fault is not None:
        yield f"{fault!r} {fault.args} {getattr(fault, '__notes__', '')}"
        yield from whole(fault.__cause__)
        yield from whole(fault.__context__)


def frames(fault: BaseException | None) -> Iterator[str]:
    """Tracebacks with the local variables of every frame, of an error and of those that it hides."""
    if fault is not None:
        yield from traceback.TracebackException.from_exception(fault, capture_locals=True).format(chain=False)
        yield from frames(fault.__context__)


# -- notebooks ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cell() -> Iterator[Any]:
    """A real kernel that was given two key pairs: that of ``main`` trades, that of ``look`` only reads."""
    pairs = {
        "QTKIT_KEY_MAIN": planted(),
        "QTKIT_SECRET_MAIN": planted(),
        "QTKIT_READ_KEY_LOOK": planted(),
        "QTKIT_READ_SECRET_LOOK": planted(),
    }
    manager, client = start_new_kernel(kernel_name="python3", env={**os.environ, "PYTHONPATH": str(ROOT), **pairs}, cwd=str(ROOT))

    def run(code: str) -> str:
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            said.append(content.get("text") or "\n".join(content.get("traceback", ())) or "")

        client.execute_interactive(code, output_hook=hear, timeout=60)
        text = "".join(said)
        assert leaks({"cell": text}, tuple(pairs.values())) == []
        return text

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_a_kernel_opens_no_trading_key(cell: Any, own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "qtkit.toml").write_text(
        '[accounts.main]\nkind = "live"\n[accounts.look]\nkind = "demo"\n[accounts.none]\nkind = "live"\n[accounts.paper]\n'
    )
    cell(
        f"import os; os.environ['QTKIT_HOME'] = {str(own_home)!r}\nimport qtkit\nfrom qtkit.settings import Paths, Settings\n%xmode Verbose"
    )
    cell("from qtkit.keys import keys_of, kernel\naccounts, paths = Settings.load().accounts, Paths.here()")
    assert "True" in cell("print(kernel())")
    refused = (
        "account main: a notebook kernel holds no trading key, and it was given QTKIT_KEY_MAIN and QTKIT_SECRET_MAIN; start it without"
    )
    assert refused in cell("qtkit.open('main')")
    assert refused in cell("keys_of(accounts['main'], paths)")
    assert refused in cell("keys_of(accounts['main'], paths, looking=True)")
    assert "the read-only key from environment" in cell("print(keys_of(accounts['look'], paths))"), "the other pair is never asked for"
    assert "Reader" in cell("print(type(qtkit.open('look')))") and "Reader" in cell("print(type(qtkit.open('paper')))")
    assert "it has no read-only key" in cell("keys_of(accounts['none'], paths)")
    assert "Reader" in cell("print(type(qtkit.open('none')))"), "it asks the desk"
    assert "Keys(" in cell("print(repr(keys_of(accounts['look'], paths)))")


def test_outside_of_a_kernel_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTKIT_KEY_MAIN", "k")
    monkeypatch.setenv("QTKIT_SECRET_MAIN", "s")
    account = Account(name="main", kind="live")
    refuse_in_kernel(account)
    assert not kernel() and keys_of(account, Paths.here()).api_key == "k"
