"""The exit desk for crypto futures: every open position planned and protected by resting orders.

In a notebook: ``paper = qtkit.open("paper")``, then ``paper.cover()``, ``paper.plans()``, ``paper.explain("BTCUSDT")``.
Names are imported when they are first used, so that ``import qtkit`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtkit import runs as runs
    from qtkit.core.context import to_trailing_config as to_trailing_config
    from qtkit.core.model import PolicyError as PolicyError
    from qtkit.core.plan import ExitPlan as ExitPlan
    from qtkit.core.planner import ExitPlanner as ExitPlanner
    from qtkit.core.policy import ExitPolicy as ExitPolicy
    from qtkit.executor import EventDrivenExecutor as EventDrivenExecutor
    from qtkit.inputs import build_context_from_position as build_context_from_position
    from qtkit.monitor import PositionMonitor as PositionMonitor
    from qtkit.reader import Reader as Reader
    from qtkit.reader import open as open
    from qtkit.router import ExitRouter as ExitRouter
    from qtkit.settings import Settings as Settings
    from qtkit.signals import Signal as Signal
    from qtkit.trailing import TrailingStopManager as TrailingStopManager

_HOMES = {
    "EventDrivenExecutor": "qtkit.executor",
    "ExitPlan": "qtkit.core.plan",
    "ExitPlanner": "qtkit.core.planner",
    "ExitPolicy": "qtkit.core.policy",
    "ExitRouter": "qtkit.router",
    "PolicyError": "qtkit.core.model",
    "PositionMonitor": "qtkit.monitor",
    "Reader": "qtkit.reader",
    "Settings": "qtkit.settings",
    "Signal": "qtkit.signals",
    "TrailingStopManager": "qtkit.trailing",
    "build_context_from_position": "qtkit.inputs",
    "open": "qtkit.reader",
    "to_trailing_config": "qtkit.core.context",
}
_ROOMS = ("lab", "runs")

__all__ = [
    "EventDrivenExecutor",
    "ExitPlan",
    "ExitPlanner",
    "ExitPolicy",
    "ExitRouter",
    "PolicyError",
    "PositionMonitor",
    "Reader",
    "Settings",
    "Signal",
    "TrailingStopManager",
    "build_context_from_position",
    "open",
    "runs",
    "to_trailing_config",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _ROOMS:
        value = import_module(f"qtkit.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("qtkit")
    else:
        raise AttributeError(f"module 'qtkit' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS, "__version__"})
