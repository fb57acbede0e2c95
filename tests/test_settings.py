"""Where things are, what was set, and what is refused before anything starts."""

import pickle
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from qtkit.core.context import RiskContext, RiskMode
from qtkit.core.desired import Traits
from qtkit.core.model import Bps, PolicyError, TriggerBy
from qtkit.core.policy import Profiles, Regime, named
from qtkit.limits import gate_of
from qtkit.policies import Policies
from qtkit.settings import Account, BarMode, PaperKeys, Paths, Scope, Secret, Series, Settings, home, searched
from qtkit.signals import Gate
from qtkit.store.disk import state_folder


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working in a folder below, with no QTKIT_HOME."""
    monkeypatch.delenv("QTKIT_HOME")
    below = tmp_path / "desk" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return tmp_path / "desk"


def test_home_is_the_variable_before_all_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".qtkit").mkdir()
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / "home"
    assert searched() == [tmp_path / "home"]


@pytest.mark.parametrize("mark", [".qtkit/", "qtkit.toml"])
def test_home_is_the_nearest_upward(away: Path, mark: str) -> None:
    (away / ".qtkit").mkdir() if mark.endswith("/") else (away / mark).touch()
    assert home() == away / ".qtkit"
    assert searched()[:2] == [away / "below" / ".qtkit", away / ".qtkit"]


def test_home_is_else_the_users_state_folder(away: Path, tmp_path: Path) -> None:
    assert home() == state_folder() == searched()[-1] == tmp_path / "state" / "qtkit"


def test_the_home_folder_is_its_owners_alone() -> None:
    paths = Paths.here()
    assert paths.home.stat().st_mode & 0o777 == 0o700
    ours = [p for name in ("a", "b") for it in (paths.of(name),) for p in (it.journal, it.tape, it.endpoint_token, it.heartbeat, it.log)]
    places = [*ours, paths.register, paths.runs, paths.keys, paths.paper_keys("a")]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(paths.home) for place in places)


def load(place: Path, text: str = "", **environ: str) -> Settings:
    (place / "qtkit.toml").write_text(text)
    return Settings.load(place, environ)


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings == Settings()
    assert (settings.tick_seconds, settings.bar_mode, settings.trail_series) == (2.0, BarMode.CLOSED, Series.MARK)
    account = settings.accounts["paper"]
    assert (account.scope, account.risk_per_trade_bps, account.base_url) == (Scope.FULL, 25, "http://127.0.0.1:8560")
    assert {row.source for row in settings.resolved()} == {"default"}


def test_file_beats_default_and_variable_beats_file(tmp_path: Path) -> None:
    text = 'tick_seconds = 1\nbudget_share_bps = 1_000\n\n[accounts.swing_1]\nscope = "guard"\nmax_notional = 0.10\n'
    settings = load(tmp_path, text, QTKIT_TICK_SECONDS="5", QTKIT_ACCOUNTS__SWING_1__LEVERAGE="3", QTKIT_HOME="elsewhere", OTHER="x")
    rows = {row.name: (row.value, row.source) for row in settings.resolved()}
    assert rows["tick_seconds"] == (5.0, "QTKIT_TICK_SECONDS")
    assert rows["budget_share_bps"] == (1_000, "qtkit.toml:2")
    assert rows["accounts.swing_1.scope"] == ("guard", "qtkit.toml:5")
    assert rows["accounts.swing_1.max_notional"] == (Decimal("0.10"), "qtkit.toml:6")
    assert rows["accounts.swing_1.leverage"] == (3, "QTKIT_ACCOUNTS__SWING_1__LEVERAGE")
    assert rows["accounts.swing_1.policy"] == (None, "default")
    assert settings.accounts["swing_1"].name == "swing_1"


def test_an_account_says_what_its_exchange_allows(tmp_path: Path) -> None:
    text = "[accounts.paper.traits]\nstop_while_flat = false\n"
    settings = load(tmp_path, text, QTKIT_ACCOUNTS__PAPER__TRAITS__CONDITIONAL_RESERVES="true")
    assert settings.accounts["paper"].traits == Traits(stop_while_flat=False, conditional_reserves=True)
    rows = {row.name: row.source for row in settings.resolved()}
    assert rows["accounts.paper.traits.stop_while_flat"] == "qtkit.toml:2"
    assert Settings().accounts["paper"].traits is None, "else the capability table says it"


def test_the_gate_and_the_profiles_are_settings_as_the_others_are(tmp_path: Path) -> None:
    text = (
        "[accounts.paper.gate]\nmax_positions = 3\nmin_confidence_bps = 6_000\nrisk_mode = 'CONSERVATIVE'\nmax_loss_bps = 200\n"
        "[profiles.btc_trend]\nsymbol = 'BTCUSDT'\nregime = 'TREND'\npolicy = 'staged'\n[profiles.unknown]\npolicy = 'trailing_tp'\n"
    )
    settings = load(tmp_path, text, QTKIT_ACCOUNTS__PAPER__GATE__MAX_POSITIONS="4", QTKIT_PROFILES__SWING__POLICY="hybrid")
    gate = gate_of(settings.accounts["paper"])
    risk = RiskContext(mode=RiskMode.CONSERVATIVE, max_loss=Bps(200))
    assert gate == Gate(max_positions=4, min_confidence=Bps(6_000), risk=risk) and gate_of(Account()) == Gate()
    rows = {row.name: (row.value, row.source) for row in settings.resolved()}
    assert rows["accounts.paper.gate.max_positions"] == (4, "QTKIT_ACCOUNTS__PAPER__GATE__MAX_POSITIONS")
    assert rows["accounts.paper.gate.risk_mode"] == ("CONSERVATIVE", "qtkit.toml:4")
    assert rows["profiles.btc_trend.regime"] == ("TREND", "qtkit.toml:8")
    assert rows["profiles.swing.policy"] == ("hybrid", "QTKIT_PROFILES__SWING__POLICY")
    chosen = settings.profiles_of(Policies())
    assert chosen.lookup("BTCUSDT", None, Regime.TREND) is named("staged") and chosen.lookup("BTCUSDT") is named("trailing_tp")
    assert chosen.lookup("ETHUSDT", None, Regime.TREND) is named("TREND") and Settings().profiles_of(Policies()) == Profiles()


def test_the_file_beside_a_folder_is_its_settings(away: Path) -> None:
    (away / "qtkit.toml").write_text('desk = "nite"')
    assert Settings.load(environ={}).desk == "nite"
    (away / ".qtkit").mkdir()
    (away / ".qtkit" / "qtkit.toml").write_text("")
    with pytest.raises(PolicyError, match="two settings files"):
        Settings.load(environ={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\ntikc_seconds = 1", "qtkit.toml:2: no setting 'tikc_seconds'; did you mean 'tick_seconds'?"),
        ('trigger_series = "last"', "qtkit.toml:1: no setting 'trigger_series'; did you mean 'trail_series'?"),
        ("[accounts.a.gate]\nmax_position = 3", "qtkit.toml:2: no setting 'accounts.a.gate.max_position'; did you mean 'max_positions'?"),
        ("[accounts.a.gate]\nmax_positions = -1", "qtkit.toml:2: accounts.a.gate.max_positions: must be between 0 and 1000, got -1"),
        ("[accounts.a.gate]\nmin_confidence_bps = 10_001", "min_confidence_bps: must be between 0 and 10000, got 10001"),
        ("[accounts.a.gate]\nmax_loss_bps = 0", "accounts.a.gate.max_loss_bps: must be between 1 and 9999, got 0"),
        ("[accounts.a.gate]\nrisk_mode = 'CALM'", "qtkit.toml:2: accounts.a.gate.risk_mode should be 'NORMAL', 'CONSERVATIVE'"),
        ("[accounts.a.gate]\nmax_positions = true", "accounts.a.gate.max_positions is no yes-or-no setting, got true"),
        ("[profiles.btc]\nsymbl = 'BTCUSDT'", "qtkit.toml:2: no setting 'profiles.btc.symbl'; did you mean 'symbol'?"),
        ("[profiles.btc]\npolicy = 'stagd'", "qtkit.toml:2: profiles.btc.policy: there is no exit policy 'stagd': did you mean 'staged'?"),
        ("[profiles.btc]\npolicy = 'staged'\nregime = 'CALM'", "qtkit.toml:3: profiles.btc.regime should be 'TREND', 'RANGE'"),
        ("[profiles.btc]\npolicy = 'staged'\nsymbol = 'BTC/USDT'", "profiles.btc.symbol: a symbol is written as the exchange does"),
        ("[profiles.btc]\nsymbol = 'BTCUSDT'", "profiles.btc.policy"),
        ('[accounts.a]\nscop = "full"', "qtkit.toml:2: no setting 'accounts.a.scop'; did you mean 'scope'?"),
        ('[emergency]\n"patience" = 3', "qtkit.toml:2: no setting 'emergency.patience'; known: closes_per_day, patience_seconds"),
        ('[accounts.a]\nscope = "ful"', "qtkit.toml:2: accounts.a.scope should be 'watch', 'guard' or 'full', got 'ful'"),
        ("[accounts.a]\nname = 'b'", "no setting 'accounts.a.name'"),
        ("sources = {}", "no setting 'sources'"),
        ("[accounts.a]\nkind = 'binance'", "accounts.a.kind should be 'paper', 'demo' or 'live', got 'binance'"),
        ("[accounts.a]\nleverage = true", "accounts.a.leverage is no yes-or-no setting, got true"),
        ("[accounts.a.traits]\nstop_while_flt = false", "no setting 'accounts.a.traits.stop_while_flt'; did you mean 'stop_while_flat'?"),
        ("[accounts.a]\nleverage = 126", "qtkit.toml:2: accounts.a.leverage: must be between 1 and 125, got 126"),
        ("[accounts.a]\nleverage = 2.5", "accounts.a.leverage should be a valid integer"),
        ("[accounts.a]\nmax_notional = nan", "max_notional"),
        ("[accounts.a]\nmax_notional = 0", "must be above zero"),
        ("[accounts.a]\nscope = 'watch'\npolicy = 'staged'", "scope watch sends nothing"),
        ("[accounts.a]\nbase_url = 'http://8.8.8.8'", "is not where a paper exchange is"),
        ("[accounts.a]\nbase_url = 'https://exchange.example'", "is not where a paper exchange is"),
        ("[accounts.A-1]", "a name of an account is"),
        ("endpoint_port = 8560", "8560 is already the port of accounts.paper.base_url"),
        ("accounts = {}", "at least one is needed"),
        ("accounts = 3", "qtkit.toml:1: accounts should be"),
        ("desk = 'QT'", "4 of a-z and 0-9"),
        ("tick_seconds = nan", "tick_seconds"),
        ("[[x", "qtkit.toml: "),
    ],
)
def test_refusals_name_the_place_and_the_right_word(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        load(tmp_path, text)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("QTKIT_TIKC_SECONDS", "1", "QTKIT_TIKC_SECONDS: no setting 'tikc_seconds'; did you mean 'tick_seconds'?"),
        ("QTKIT_TICK_SECONDS", "soon", "QTKIT_TICK_SECONDS: tick_seconds should be a valid number"),
        ("QTKIT_DESK__TAG", "x", "QTKIT_DESK__TAG: desk is a value in qtkit.toml, not a table"),
    ],
)
def test_refusals_name_the_variable(tmp_path: Path, variable: str, value: str, message: str) -> None:
    with pytest.raises(PolicyError) as refusal:
        load(tmp_path, 'desk = "qtk0"', **{variable: value})
    assert message in str(refusal.value)


@pytest.mark.parametrize(("series", "order"), [(Series.MARK, TriggerBy.MARK), (Series.LAST, TriggerBy.LAST)])
def test_series_as_orders_say_it(series: Series, order: TriggerBy) -> None:
    assert series.trigger_by is order


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("s3cret-value")
    shown = f"{secret} {secret!r} {PaperKeys('key', secret)} {[secret]}"
    assert "s3cret" not in shown and secret.reveal() == "s3cret-value"
    assert secret == Secret("s3cret-value") and secret != Secret("other")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)


def test_paper_keys_are_made_once_even_by_many() -> None:
    path, found, start = Paths.here().paper_keys(), [], threading.Barrier(8)

    def create() -> None:
        start.wait()
        found.append(PaperKeys.create(path))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(keys == found[0] for keys in found)
    assert PaperKeys.read(path) == found[0]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["paper.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_keys_open_to_others_are_refused(mode: int) -> None:
    path = Paths.here().paper_keys()
    PaperKeys.create(path)
    path.chmod(mode)
    with pytest.raises(PolicyError, match=r"chmod 600"):
        PaperKeys.create(path)


@pytest.mark.parametrize("content", ["", "[]", '{"api_key": "x"}'])
def test_damaged_keys_are_refused(content: str) -> None:
    path = Paths.here().paper_keys()
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(PolicyError, match="not a key file"):
        PaperKeys.read(path)


def test_missing_keys_are_refused() -> None:
    with pytest.raises(PolicyError, match="no keys here"):
        PaperKeys.read(Paths.here().paper_keys())


def test_the_package_starts_without_the_heavy_ones() -> None:
    heavy = ["aiohttp", "altair", "apprise", "ccxt", "nbconvert", "numba", "pandas", "papermill", "polars", "pydantic", "yaml"]
    code = f"import sys, qtkit, qtkit.settings, qtkit.runs; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
