"""A policy file written: every field that is not "none", exactly."""

from collections.abc import Iterator
from pathlib import Path

from qtkit.core.distance import Distance, InAtr, decimal, format_distance
from qtkit.core.policy import ExitPolicy, TrailRule
from qtkit.policyfile.words import ATR_KEYS, BREAK_EVEN, TRIGGERS, PolicyFile, key_text, located, quoted, span, value_text

HEAD = "# Exit policy. Distances: 2.5%, 250bps, 2R, 3atr or @91000. Shares are parts of the position and make 100 % with the trail's.\n"


def save(path: Path | str, file: PolicyFile) -> None:
    """Write a policy file, over an older one of that name. Raises ``PolicyError`` for provenance that TOML cannot hold, and ``OSError``."""
    Path(path).write_text(write(file), encoding="utf-8")


def write(file: PolicyFile) -> str:
    """The text of a policy file. Raises ``PolicyError`` for provenance that TOML cannot hold."""
    lines = [HEAD + _line("name", quoted(file.policy.name)), *_written(file.policy)]
    if file.provenance:
        lines.append("\n[provenance]\n")
        for key, value in file.provenance.items():
            with located(f"provenance.{key}"):
                lines.append(_line(key_text(key), value_text(value)))
    return "".join(lines)


def _written(policy: ExitPolicy) -> Iterator[str]:
    if policy.strategy:
        yield _line("strategy", quoted(policy.strategy))
    yield _line("stop", _said(policy.stop))
    if policy.adopted_stop is not None:
        yield _line("adopted_stop", _said(policy.adopted_stop))
    yield from _list("targets", [f"at = {_said(row.at)}, share = {_share(row.share)}" for row in policy.targets])
    rows = [f"at = {_share(row.at)}, to = {quoted(BREAK_EVEN) if row.to is None else _share(row.to)}" for row in policy.stages]
    yield from _list("stages", rows)
    if policy.break_even_after is not None:
        yield _line("break_even_after", str(policy.break_even_after))
    if policy.max_hold_ms is not None:
        yield _line("max_hold", quoted(span(policy.max_hold_ms)))
    yield _line("liquidation_buffer", _share(policy.liquidation_buffer))
    yield _line("trigger_by", quoted(next(word for word, by in TRIGGERS.items() if by is policy.trigger_by)))
    if policy.trail is not None:
        yield from _trail_written(policy.trail)


def _trail_written(trail: TrailRule) -> Iterator[str]:
    yield "\n[trail]\n"
    yield _line("activation", _said(trail.activation))
    yield _line("callback", _said(trail.callback))
    if trail.moves:
        yield _line("moves", value_text(trail.moves))
    yield _line("share", _share(trail.share))
    yield _line("min_step", _share(trail.min_step))
    yield from _list("tightening", [f"at = {_said(step.at)}, callback = {_share(step.callback)}" for step in trail.tightening])


def _line(key: str, value: str) -> str:
    return f"{key} = {value}\n"


def _list(key: str, rows: list[str]) -> Iterator[str]:
    if rows:
        yield f"{key} = [\n" + "".join(f"    {{ {row} }},\n" for row in rows) + "]\n"


def _said(distance: Distance) -> str:
    text = quoted(format_distance(distance))
    if not isinstance(distance, InAtr):
        return text
    clamps = ", ".join(f"{key} = {_share(getattr(distance, key))}" for key in ATR_KEYS[1:])
    return f"{{ distance = {text}, {clamps} }}"


def _share(bps: int) -> str:
    return quoted(f"{decimal(bps, 2)}%")
