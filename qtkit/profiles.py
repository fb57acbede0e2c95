"""Own profiles: which exit policy is used for which symbol, strategy and regime, as it is set."""

import re
from dataclasses import dataclass

from qtkit.core.model import PolicyError
from qtkit.core.policy import ExitPolicy, ProfileRule, Regime


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Use `policy` where all that is named here is so, unless a signal or the account names a policy.

    The symbol weighs more than the strategy, the strategy more than the regime; of equals, the first. Own profiles come before those of the
    regimes; one that names nothing is for a market whose regime is not known. Only signals have a strategy: no adopted position does.
    """

    policy: str
    symbol: str | None = None
    strategy: str | None = None
    regime: Regime | None = None

    def rule(self, policy: ExitPolicy) -> ProfileRule:
        """The same as the planner takes it, with the policy that it names."""
        return ProfileRule(policy=policy, symbol=self.symbol, strategy=self.strategy, regime=self.regime)

    def refuse_unknown(self, here: str) -> None:
        """Raise ``PolicyError`` for what no plan could ever have; ``here`` is the name of this table."""
        if self.symbol is not None and not re.fullmatch(r"[A-Z0-9_-]{2,40}", self.symbol):
            raise PolicyError(f"{here}.symbol: a symbol is written as the exchange does, BTCUSDT, got {self.symbol!r}")
