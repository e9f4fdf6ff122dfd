"""A fleet serves one model: a log of several needs to be told which, or that they are one."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import REJECTION_MEANINGS, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.engine import Seen, Survey
from sky_melange.traces.numbers import CODES
from sky_melange.traces.where import columns_of, identifier, is_word, literal, parse_where
from sky_melange.untrusted import one_line

_MOST_SHOWN: Final = 20


def check_one_model(source: str, column: str | None, seen: Survey, options: TraceOptions) -> None:
    """Raises InputError with a table of the models. `column` names them."""
    if seen.models < 2 or column is None:
        return
    if options.where is not None:
        chosen = parse_where(options.where)
        names = {name.casefold() for name in columns_of(chosen)}
        if not names or column.casefold() in names:
            return
    shown = seen.rows[:_MOST_SHOWN]
    lines = [f"{each.requests:>12,} rows {each.tokens:>16,} tokens  {_named(each)}" for each in shown]
    if seen.kinds > len(shown):
        lines.append(f"and {seen.kinds - len(shown):,} more")
    first = next((each.model for each in seen.rows if not each.aside and each.model is not None), "")
    name = column if is_word(column) else identifier(column).replace('"', '\\"')
    message = (
        f"holds the requests of {seen.models:,} models, and a workload is one model's. Choose it, for example: "
        f'--where "{name} = {literal(first)}" (where: in a workload), or --where TRUE if they are one. The log has:\n'
        + "\n".join(lines)
    )
    raise InputError([Mistake(source=source, message=message)])


def _named(seen: Seen) -> str:
    model = "(no model)" if seen.model is None else one_line(seen.model)
    why = {code: REJECTION_MEANINGS[name] for name, code in CODES.items()}.get(seen.aside)
    return model if why is None else f"{model}: {why}"
