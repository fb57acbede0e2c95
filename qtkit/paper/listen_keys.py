"""Listen keys: what opens an account's user stream, and for how long."""

import secrets

from qtkit.paper.rows import ExchangeError


class ListenKeys:
    """Listen keys of the accounts. A key lives ``ttl_ms`` from its last POST or PUT (Binance: 60 minutes)."""

    def __init__(self, ttl_ms: int) -> None:
        self.ttl_ms = ttl_ms
        self._by_account: dict[str, tuple[str, int]] = {}
        self._by_key: dict[str, str] = {}

    def create(self, account: str, now_ms: int) -> str:
        """POST: the account's key, new if it has none, good for another life."""
        key = self.of(account, now_ms) or secrets.token_urlsafe(48)
        self._by_account[account] = (key, now_ms + self.ttl_ms)
        self._by_key[key] = account
        return key

    def extend(self, account: str, now_ms: int) -> str:
        """PUT: another life for the account's key. Raises -1125 if it has none."""
        key = self.of(account, now_ms)
        if key is None:
            raise ExchangeError(-1125, "This listenKey does not exist.")
        return self.create(account, now_ms)

    def end(self, account: str) -> str | None:
        """DELETE: forget the account's key and say which it was."""
        found = self._by_account.pop(account, None)
        if found is None:
            return None
        del self._by_key[found[0]]
        return found[0]

    def run_out(self, account: str, now_ms: int) -> None:
        """The account's key, if it has one, has lived long enough."""
        if account in self._by_account:
            self._by_account[account] = (self._by_account[account][0], now_ms)

    def of(self, account: str, now_ms: int) -> str | None:
        """The account's key, if it is alive."""
        found = self._by_account.get(account)
        return found[0] if found is not None and now_ms < found[1] else None

    def account_of(self, key: str, now_ms: int) -> str | None:
        """Whose a living key is."""
        account = self._by_key.get(key)
        return account if account is not None and self.of(account, now_ms) == key else None

    def expired(self, now_ms: int) -> tuple[tuple[str, str], ...]:
        """Accounts and keys whose life is over; they are forgotten by this."""
        over = tuple((account, key) for account, (key, end) in self._by_account.items() if now_ms >= end)
        for account, _ in over:
            self.end(account)
        return over
