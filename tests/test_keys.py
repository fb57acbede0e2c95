"""Accounts and their keys: where keys may lie, what they may do, what is refused and in which words."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtkit.access import enter, meaning, told
from qtkit.account import ADDRESSES, Account, Kind
from qtkit.core.model import Lots, Order, OrderKind, OrderSide, PolicyError, PositionSide, Scope, Side
from qtkit.desk import gateway_of, identity, opened
from qtkit.home import PaperKeys, Paths, Secret, read_pair
from qtkit.keys import Keys, keys_of, owner_keys, variables
from qtkit.onlooker import onlooker
from qtkit.paper.faults import Fault, FaultKind, Faults, Match, Verb
from qtkit.paper.signing import WHOLE
from qtkit.router import ExitRouter
from qtkit.settings import Settings
from qtkit.signals import Signal
from qtkit.venue.gateway import KeyRights, Unavailable
from tests.paper.server_rig import KEY, SECRET, Rig, rig

REAL: tuple[Kind, ...] = ("demo", "live")
UNSEEN = KeyRights()
SLOT = PositionSide.BOTH


def account(kind: Kind = "live", base: str | None = None, **more: Any) -> Account:
    return Account(name="main", kind=kind, **({"base_url": base} if base else {}), **more)


# -- accounts -------------------------------------------------------------------------------------------------------------------


def test_what_follows_from_the_kind() -> None:
    paper, demo, live = (Account(name="a", kind=kind) for kind in ("paper", "demo", "live"))
    assert (paper.scope, demo.scope, live.scope) == (Scope.FULL, Scope.WATCH, Scope.WATCH)
    assert (paper.symbols, demo.symbols, live.symbols) == (None, None, ()), "nothing may be written on live before it is named"
    assert [a.base_url for a in (paper, demo, live)] == [ADDRESSES[kind] for kind in ("paper", "demo", "live")]
    assert [a.real for a in (paper, demo, live)] == [False, True, True]


def test_the_addresses_are_those_of_the_client() -> None:
    import ccxt

    urls = ccxt.binanceusdm().urls
    assert urls["demo"]["fapiPrivate"] == f"{ADDRESSES['demo']}/fapi/v1"
    assert urls["api"]["fapiPrivate"] == f"{ADDRESSES['live']}/fapi/v1"


@pytest.mark.parametrize("kind", REAL)
def test_a_real_account_is_rehearsed_on_loopback_alone(kind: Kind) -> None:
    assert account(kind, "http://127.0.0.1:8560").rehearsal and not account(kind).rehearsal
    for wrong in ("http://10.0.0.1:80", "https://fapi.example", "http://127.0.0.1.evil.example", ADDRESSES[kind].replace("https", "http")):
        with pytest.raises(PolicyError, match=r"accounts\.main\.base_url"):
            account(kind, wrong)


@pytest.mark.parametrize(("kind", "other"), [("live", "demo"), ("demo", "live"), ("live", "paper")])
def test_an_address_of_another_kind_is_named_as_such(kind: Kind, other: Kind) -> None:
    if other == "paper":
        assert account(kind, ADDRESSES[other]).rehearsal
        return
    with pytest.raises(PolicyError, match=f"is the {other} exchange, the account is {kind}"):
        account(kind, ADDRESSES[other])


def test_an_account_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "qtkit.toml").write_text(
        '[accounts.main]\nkind = "live"\nkeys = "env"\nsymbols = ["BTCUSDT"]\n[accounts.play]\nkind = "demo"\n[accounts.paper]\n'
    )
    environ = {"QTKIT_ACCOUNTS__PLAY__SYMBOLS": "ETHUSDT, LTCUSDT", "QTKIT_KEY_MAIN": "k", "QTKIT_READ_SECRET_PLAY": "s"}
    accounts = Settings.load(tmp_path, environ).accounts
    assert accounts["main"] == account(keys="env", symbols=("BTCUSDT",))
    assert accounts["play"] == Account(name="play", kind="demo", symbols=("ETHUSDT", "LTCUSDT"))
    assert accounts["paper"] == Account()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('keys = "0xplanted"', "accounts.main.keys should be 'env', 'file' or 'keyring'"),
        ('api_key = "0xplanted"', "accounts.main.api_key is no setting: keys are not kept here"),
        ('secret = "0xplanted"', "accounts.main.secret is no setting: keys are not kept here"),
        ('base_url = "http://me:0xplanted@127.0.0.1:1"', "an address holds no user and no password"),
    ],
)
def test_a_key_in_the_settings_is_refused_and_not_repeated(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "qtkit.toml").write_text(f'[accounts.main]\nkind = "live"\n{line}\n')
    with pytest.raises(PolicyError) as refusal:
        Settings.load(tmp_path, {})
    assert message in str(refusal.value) and "0xplanted" not in str(refusal.value)


# -- where keys lie -------------------------------------------------------------------------------------------------------------


def in_environment(monkeypatch: pytest.MonkeyPatch, *, looks: bool = False, key: str = "env-key", secret: str = "env-secret") -> None:
    for name, value in zip(variables("main", looks=looks), (key, secret), strict=True):
        monkeypatch.setenv(name, value)


def in_file(path: Path, key: str = "file-key", secret: str = "file-secret") -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(0o600)
    path.write_text(json.dumps({"api_key": key, "secret": secret}))
    return path


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A keyring of one text file in place of the system's, under the name and with the calls of the real package."""
    package = tmp_path / "site" / "keyring"
    package.mkdir(parents=True)
    (package / "errors.py").write_text("class KeyringError(Exception): pass\nclass NoKeyringError(KeyringError): pass\n")
    (package / "__init__.py").write_text(
        "import json, pathlib\nfrom keyring import errors\nPLACE = pathlib.Path(__file__).with_name('kept.json')\n"
        "def get_password(service, name):\n    if not PLACE.exists(): raise errors.KeyringError('locked')\n"
        "    return json.loads(PLACE.read_text()).get(f'{service}/{name}')\n"
    )
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "keyring"}
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield package / "kept.json"
    for name in [name for name in sys.modules if name.split(".")[0] == "keyring"]:
        del sys.modules[name]
    sys.modules.update(real)


def test_the_first_place_that_has_keys(monkeypatch: pytest.MonkeyPatch, keyring: Path) -> None:
    paths = Paths.here()
    keyring.write_text(json.dumps({"qtkit/main.key": "ring-key", "qtkit/main.secret": "ring-secret"}))
    assert keys_of(account(), paths) == Keys("ring-key", Secret("ring-secret"), "keyring")
    in_file(paths.paper_keys("main"))
    assert keys_of(account(), paths) == Keys("file-key", Secret("file-secret"), "file")
    in_environment(monkeypatch)
    assert keys_of(account(), paths) == Keys("env-key", Secret("env-secret"), "environment")
    named = {source: keys_of(account(keys=source), paths).api_key for source in ("env", "file", "keyring")}
    assert named == {"env": "env-key", "file": "file-key", "keyring": "ring-key"}


def test_looking_takes_the_read_only_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths.here()
    in_environment(monkeypatch)
    assert keys_of(account(), paths, looking=True).looks is False, "where there is no other, the one that trades looks too"
    in_file(paths.read_keys("main"), "reader", "reads")
    looking = keys_of(account(), paths, looking=True)
    assert looking == Keys("reader", Secret("reads"), "file", looks=True) and str(looking) == "the read-only key from file"
    trading = keys_of(account(), paths)
    assert trading.api_key == "env-key"
    assert identity(account(), owner_keys(account(), paths)) == identity(account(), trading), "one lease, whoever asks"
    for name in variables("main", looks=False):
        monkeypatch.delenv(name)
    assert owner_keys(account(), paths) == looking
    with pytest.raises(PolicyError, match=r"only a read-only key pair, and this needs one that trades; set QTKIT_KEY_MAIN"):
        keys_of(account(), paths)


def test_no_keys_says_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths.here()
    with pytest.raises(PolicyError, match=r"account main has no keys; set QTKIT_READ_KEY_MAIN and QTKIT_READ_SECRET_MAIN, or write"):
        keys_of(account(), paths, looking=True)
    monkeypatch.setenv("QTKIT_KEY_MIAN", "k")
    with pytest.raises(PolicyError, match="did you mean 'QTKIT_KEY_MIAN'"):
        keys_of(account(keys="env"), paths)
    with pytest.raises(PolicyError, match="`qtkit paper` makes them"):
        keys_of(Account(), paths)


@pytest.mark.parametrize("half", [0, 1])
def test_half_a_pair_is_refused(monkeypatch: pytest.MonkeyPatch, half: int) -> None:
    names = variables("main", looks=False)
    monkeypatch.setenv(names[half], "value")
    with pytest.raises(PolicyError, match=f"{names[half]} is there, {names[1 - half]} is not"):
        keys_of(account(), Paths.here())


def test_pasted_blanks_are_no_part_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, key=" env-key\n", secret="env-secret ")
    assert keys_of(account(), Paths.here()) == Keys("env-key", Secret("env-secret"), "environment")
    in_environment(monkeypatch, key="two words", secret="0xplanted")
    with pytest.raises(PolicyError, match="QTKIT_KEY_MAIN is no API key") as refusal:
        keys_of(account(), Paths.here())
    assert "two" not in str(refusal.value) and "0xplanted" not in str(refusal.value)


def test_a_keyring_that_is_asked_for_and_cannot_answer(keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PolicyError, match="the keyring cannot be read"):
        keys_of(account(keys="keyring"), Paths.here())
    in_environment(monkeypatch)
    assert keys_of(account(), Paths.here(), looking=True).source == "environment", "not asked for, it is passed over"


def test_a_system_without_a_keyring_has_nothing_to_unlock(keyring: Path) -> None:
    init = keyring.with_name("__init__.py")
    init.write_text(init.read_text().replace("errors.KeyringError('locked')", "errors.NoKeyringError('no backend')"))
    with pytest.raises(PolicyError, match="this system has no keyring that could be asked; install one, or set keys = ") as refusal:
        keys_of(account(keys="keyring"), Paths.here())
    assert "unlock" not in str(refusal.value)


def test_a_keyring_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(PolicyError, match=r'the package keyring is not installed: run `pip install "qtkit\[keyring\]"`'):
        keys_of(account(keys="keyring"), Paths.here())


def _linked(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def _of_another(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.chmod(0o640), "others than its owner can read these keys"),
        (lambda path: path.chmod(0o602), "others than its owner can read these keys"),
        (_linked, "a link where keys should be"),
        (_of_another, "belong to another user"),
        (lambda path: path.write_text("0xplanted"), "not a key file"),
        (lambda path: path.write_text('{"api_key": "0xplanted", "secret": 3}'), "not a key file"),
        (lambda path: path.write_bytes(b"\xff0xplanted"), "not a key file"),
        (lambda path: (path.unlink(), path.mkdir()), "not a key file"),
    ],
)
def test_a_file_that_is_not_safe_is_not_read(harm: Callable[[Path], Any], message: str) -> None:
    path = in_file(Paths.here().paper_keys("main"))
    harm(path)
    with pytest.raises(PolicyError, match=message) as refusal:
        read_pair(path)
    assert "0xplanted" not in f"{refusal.value!r} {refusal.value.__cause__!r} {refusal.value.__context__!r}"
    with pytest.raises(PolicyError, match=message):
        keys_of(account(), Paths.here())


# -- what keys may do -----------------------------------------------------------------------------------------------------------


PAIR = Keys(KEY, Secret(SECRET), "environment")
READER = replace(PAIR, looks=True)


async def entered(it: Rig, keys: Keys = PAIR, kind: Kind = "live", *, writes: bool = False, scope: Scope | None = None) -> str:
    """What an account that is pointed at the paper exchange is told on its way in; whatever happens, nothing was changed."""
    held = account(kind, it.base, **({} if scope is None else {"scope": scope}))
    gateway = gateway_of(held, keys, Settings(), writes=writes)
    try:
        return await enter(gateway, held, keys, writes=writes)
    finally:
        await gateway.close()
        assert {record.method for record in it.server.requests} == {"GET"}


@pytest.mark.parametrize("kind", ["paper", *REAL])
async def test_which_account_and_rights_were_used(kind: Kind) -> None:
    async with rig() as it:
        where = "" if kind == "paper" else f" (rehearsed at 127.0.0.1:{it.server.port})"
        scope = "full" if kind == "paper" else "watch"
        assert await entered(it, kind=kind) == f"account main: {kind}{where}, scope {scope}, key trades, from environment"
        it.server.rights[KEY] = replace(WHOLE, trade=False)
        assert await entered(it, READER, kind) == f"account main: {kind}{where}, scope {scope}, key reads only, from environment"


def test_the_sentence_without_a_rehearsal() -> None:
    assert told(account(), PAIR, replace(WHOLE, trade=False)) == "account main: live, scope watch, key reads only, from environment"
    assert told(account("demo"), PAIR, UNSEEN) == "account main: demo, scope watch, key rights unknown, from environment"
    assert told(account()) == "account main: live, scope watch, no key used"


MUCH = [
    (replace(WHOLE, withdraw=True), "the key from environment allows withdrawals, which a desk never needs; switch off Enable Withdrawals"),
    (
        replace(WHOLE, transfer=True),
        "allows transfers, which a desk never needs; switch off Permits Universal Transfer and Enable Internal",
    ),
    (replace(WHOLE, withdraw=True, transfer=True), "allows withdrawals and transfers"),
    (replace(WHOLE, withdraw=True, trade=False), "allows withdrawals"),
]


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize(("rights", "sentence"), MUCH)
async def test_a_key_that_moves_money_is_refused(kind: Kind, rights: KeyRights, sentence: str, writes: bool) -> None:
    async with rig() as it:
        it.server.rights[KEY] = rights
        with pytest.raises(PolicyError) as refusal:
            await entered(it, kind=kind, writes=writes, scope=Scope.GUARD)
        assert sentence in str(refusal.value) and "\n" not in str(refusal.value)
        assert await entered(it, kind="paper"), "on paper there is nothing to lose"


@pytest.mark.parametrize("kind", REAL)
async def test_a_key_that_only_reads_does_not_write_and_one_for_looking_does_not_trade(kind: Kind) -> None:
    async with rig() as it:
        with pytest.raises(PolicyError, match=r"read-only key from environment may trade, and is given for looking"):
            await entered(it, READER, kind)
        it.server.rights[KEY] = replace(WHOLE, trade=False)
        assert "key reads only" in await entered(it, READER, kind)
        with pytest.raises(PolicyError, match=r"only reads, and scope guard sends orders"):
            await entered(it, kind=kind, writes=True, scope=Scope.GUARD)


REFUSED = Match(verb=Verb.SETTING)


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize(
    ("keys", "elsewhere", "code", "sentences"),
    [
        (replace(PAIR, api_key="stray-key"), False, -2015, ("it is unknown there", 'then set kind = "')),
        (PAIR, True, -2015, ("may not be used from this address (IP)",)),
        (replace(PAIR, api_key="not a key"), False, -2014, ("not an API key as the exchange makes them",)),
        (replace(PAIR, secret=Secret("wrong")), False, -1022, ("the secret does not belong to the API key",)),
    ],
)
async def test_a_key_that_is_not_let_in(kind: Kind, keys: Keys, elsewhere: bool, code: int, sentences: tuple[str, ...]) -> None:
    async with rig() as it:
        it.server.elsewhere.update({KEY} if elsewhere else ())
        with pytest.raises(Unavailable) as refusal:
            await entered(it, keys, kind)
        said = str(refusal.value)
        assert f"account main: the exchange at 127.0.0.1:{it.server.port} refuses the key from environment with {code}: " in said
        assert all(sentence in said for sentence in sentences) and "\n" not in said
        other = "demo" if kind == "live" else "live"
        assert code != -2015 or f"a key of the {other} exchange is unknown on the {kind} one" in said, "a wrong network looks the same"
        assert keys.api_key not in said and keys.secret.reveal() not in said


@pytest.mark.parametrize("code", [-1021, -5028])
async def test_a_clock_that_runs_off(code: int) -> None:
    faults = Faults([Fault(kind=FaultKind.REFUSE, match=REFUSED, times=None, code=code, message="Timestamp is outside of the recvWindow.")])
    async with rig(faults=faults) as it:
        with pytest.raises(Unavailable, match=f"{code}: the clock of this computer does not agree with the exchange's; switch time"):
            await entered(it)


def test_a_mode_that_was_switched_has_its_sentence() -> None:
    assert "position mode of the account (one-way or hedge)" in (meaning(account(), -4061) or "")
    assert meaning(account(), -4045) is None, "a code of something else is told as it came"


async def test_nobody_answers() -> None:
    held = account(base="http://127.0.0.1:9")
    gateway = gateway_of(held, PAIR, Settings(), writes=False)
    try:
        with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9: .*`qtkit paper` starts a paper exchange there"):
            await enter(gateway, held, PAIR, writes=False)
    finally:
        await gateway.close()


class Silent:
    """A gateway whose exchange does not say what keys may do."""

    def __init__(self, error: Unavailable | None = None) -> None:
        self.error = error

    async def start(self) -> None: ...

    async def rights(self) -> KeyRights:
        if self.error is not None:
            raise self.error
        return UNSEEN


@pytest.mark.parametrize("error", [None, Unavailable("HTTP 502")])
async def test_a_look_does_not_wait_for_rights_and_a_live_write_does(error: Unavailable | None) -> None:
    silent: Any = Silent(error)
    assert "key rights unknown" in await enter(silent, account(), PAIR, writes=False)
    assert "key rights unknown" in await enter(silent, account("demo"), PAIR, writes=True), "Binance's demo does not tell them"
    with pytest.raises(PolicyError, match="what the key from environment may do is not known, so nothing is sent"):
        await enter(silent, account(), PAIR, writes=True)


# -- the exchange itself, without touching it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REAL)
async def test_the_exchange_is_asked_at_its_own_hosts_and_written_to_by_nobody(kind: Kind) -> None:
    asked: list[str] = []

    async def fetch(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        asked.append(url.partition("?")[0])
        return {"enableReading": True, "enableFutures": False, "enableWithdrawals": False, "ipRestrict": True}

    gateway: Any = gateway_of(account(kind), PAIR, Settings())
    gateway._client.fetch = fetch
    try:
        rights = await gateway.rights()
        if kind == "live":
            assert asked == ["https://api.binance.com/sapi/v1/account/apiRestrictions"]
            assert rights == KeyRights(read=True, trade=False, withdraw=False, transfer=None, ip_restricted=True)
        else:
            assert (asked, rights) == ([], UNSEEN), "there is no such endpoint, and no address for it"
        assert gateway._client.urls["api"]["fapiPrivate"] == f"{ADDRESSES[kind]}/fapi/v1"
        before = list(asked)
        with pytest.raises(PolicyError, match="only reads: fapiPrivatePostLeverage was not sent"):
            await gateway.set_leverage("BTCUSDT", 2)
        with pytest.raises(PolicyError, match="only reads: fapiPrivateDeleteOrder was not sent"):
            limit = Order(symbol="BTCUSDT", client_id="x", kind=OrderKind.LIMIT, side=OrderSide.SELL, position_side=SLOT, lots=Lots(1))
            await gateway.cancel(limit)
        assert asked == before
    finally:
        await gateway.close()


# -- a desk ---------------------------------------------------------------------------------------------------------------------


async def test_a_watching_desk_takes_the_read_only_key_and_changes_nothing(own_home: Path) -> None:
    async with rig() as it:
        own_home.mkdir(mode=0o700)
        in_file(Paths.here().read_keys("main"), KEY, SECRET)
        it.server.rights[KEY] = replace(WHOLE, trade=False)
        (own_home / "qtkit.toml").write_text(f'[accounts.main]\nkind = "live"\nbase_url = "{it.base}"\n')
        await it.call("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}, key="h" * 64)
        async with opened(account="main") as desk:
            assert desk.access.endswith("scope watch, key reads only, from file")
            await desk.monitor.pass_once()
            with pytest.raises(PolicyError, match=r"accounts\.main\.scope is watch, which sends nothing"):
                await desk.flatten(())
        changed = [r for r in it.server.requests if r.account == "main" and r.method != "GET" and "listenKey" not in r.path]
        assert changed == []


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("side", list(Side))
async def test_a_writing_desk_without_a_proof_does_not_start(kind: Kind, side: Side, own_home: Path) -> None:
    async with rig() as it:
        own_home.mkdir(mode=0o700)
        in_file(Paths.here().paper_keys("main"), KEY, SECRET)
        limits = 'scope = "guard"\nsymbols = ["BTCUSDT"]\nmax_notional = 50\nleverage = 2'
        (own_home / "qtkit.toml").write_text(f'[accounts.main]\nkind = "{kind}"\nbase_url = "{it.base}"\n{limits}\n')
        way = "BUY" if side is Side.LONG else "SELL"
        assert (await it.call("POST", "/fapi/v1/order", {"symbol": "BTCUSDT", "side": way, "type": "MARKET", "quantity": "0.01"}))[0] == 200
        stop = {"symbol": "BTCUSDT", "side": "SELL" if side is Side.LONG else "BUY", "algoType": "CONDITIONAL", "type": "STOP_MARKET"}
        stop |= {"triggerPrice": "90000" if side is Side.LONG else "110000", "closePosition": "true"}
        status, row = await it.call("POST", "/fapi/v1/algoOrder", stop)
        assert status == 200, row
        before = len(it.server.requests)
        with pytest.raises(PolicyError, match=r"may not be written to: no canary has proven"):
            async with opened(account="main"):
                raise AssertionError("it started")
        assert len(it.server.requests) == before, "it was not even asked; the stop rests"
        assert [o["clientAlgoId"] for o in (await it.call("GET", "/fapi/v1/openAlgoOrders"))[1]] == [row["clientAlgoId"]]


def test_keys_of_the_paper_exchange_are_keys() -> None:
    made = PaperKeys.create(Paths.here().paper_keys())
    assert keys_of(Account(), Paths.here()) == Keys(made.api_key, made.secret, "file")


async def test_nothing_is_written_on_a_symbol_that_is_not_allowed(own_home: Path) -> None:
    async with rig() as it:
        own_home.mkdir(mode=0o700)
        in_file(Paths.here().paper_keys("main"), KEY, SECRET)
        (own_home / "qtkit.toml").write_text(f'[accounts.main]\nbase_url = "{it.base}"\nsymbols = ["LTCUSDT"]\n')
        for symbol, quantity in (("BTCUSDT", "0.01"), ("LTCUSDT", "5")):
            order = {"symbol": symbol, "side": "BUY", "type": "MARKET", "quantity": quantity}
            assert (await it.call("POST", "/fapi/v1/order", order))[0] == 200
        async with opened(account="main") as desk:
            for _ in range(3):
                await desk.monitor.pass_once()
        resting = (await it.call("GET", "/fapi/v1/openAlgoOrders"))[1]
        assert {row["symbol"] for row in resting} == {"LTCUSDT"}


@pytest.mark.parametrize("side", ["long", "short"])
async def test_an_order_of_the_wrong_mode_is_told_as_such(own_home: Path, side: str) -> None:
    mode = Fault(kind=FaultKind.REFUSE, match=Match(verb=Verb.PLACE), times=None, code=-4061, message="Position side does not match.")
    async with rig(faults=Faults([mode])) as it:
        own_home.mkdir(mode=0o700)
        in_file(Paths.here().paper_keys("main"), KEY, SECRET)
        (own_home / "qtkit.toml").write_text(f'[accounts.main]\nbase_url = "{it.base}"\n')
        async with opened(account="main") as desk:
            await desk.monitor.pass_once()
            with pytest.raises(PolicyError, match=r"-4061: the position mode of the account \(one-way or hedge\) is not the one"):
                await desk.executor.execute(Signal.from_dict({"symbol": "BTCUSDT", "side": side, "quantity": "0.01", "stop": "2%"}))
        assert (await it.call("GET", "/fapi/v3/positionRisk"))[1] == []


@pytest.mark.parametrize("side", list(Side))
async def test_the_gate_and_the_profiles_that_are_set_hold_in_the_desk_and_for_whoever_looks(own_home: Path, side: Side) -> None:
    """By the desk, the onlooker, an object without arguments and a signal: one position is planned in one way."""
    async with rig() as it:
        own_home.mkdir(mode=0o700)
        in_file(Paths.here().paper_keys("main"), KEY, SECRET)
        (own_home / "qtkit.toml").write_text(
            f'[accounts.main]\nbase_url = "{it.base}"\n[accounts.main.gate]\nmax_positions = 2\nmin_confidence_bps = 6_000\n'
            '[profiles.ltc]\nsymbol = "LTCUSDT"\npolicy = "staged"\n'
            '[profiles.swing]\nstrategy = "swing"\npolicy = "hybrid"\n'
        )
        order = {"symbol": "LTCUSDT", "side": side.opening.value, "type": "MARKET", "quantity": "5"}
        assert (await it.call("POST", "/fapi/v1/order", order))[0] == 200
        async with onlooker("main") as looking:
            episodes = (await looking.decision()).book.episodes
            assert [episode.plan.strategy_id for episode in episodes.values()] == ["staged"], "the preview"
        told = {"symbol": "LTCUSDT", "positionAmt": str(5 * side.sign), "entryPrice": "80", "markPrice": "80"}
        assert (await ExitRouter().get_or_create_plan(told)).strategy_id == "staged", "an object without arguments"
        async with opened(account="main") as desk:
            for _ in range(3):
                await desk.monitor.pass_once()
            assert [episode.plan.strategy_id for episode in desk.applier.book.episodes.values()] == ["staged"]
            ask = {"symbol": "BTCUSDT", "side": side.opening.value, "quantity": "0.01"}
            for more, policy in (({"strategy": "swing"}, "hybrid"), ({"strategy": "swing", "stop": "2%"}, "hybrid"), ({}, "scaled_tp")):
                done = await desk.executor.execute(Signal.from_dict(ask | more), dry_run=True)
                assert done.strategy == policy, more
            with pytest.raises(PolicyError, match=r"confidence 0\.5 is below 0\.6"):
                await desk.executor.execute(Signal.from_dict(ask | {"confidence": "5000"}))
            await desk.executor.execute(Signal.from_dict(ask))
            with pytest.raises(PolicyError, match="2 positions are open, and at most 2 are allowed"):
                await desk.executor.execute(Signal.from_dict(ask | {"symbol": "ETHUSDT"}))
