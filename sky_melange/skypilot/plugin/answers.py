"""Errors as the plugin answers them: `{"code": the command line's exit code, "detail": [{where, message, help}]}`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sky_melange.errors import InputError, Mistake, PriceSourceError, SkyMelangeError

if TYPE_CHECKING:
    from pydantic import ValidationError

INVALID: Final = 422
_MOST_SHOWN: Final = 20
_NO_PRICES: Final = 424
_HELP: Final = {
    1: "please report this",
    2: "mend every place that is listed, and send it again",
    3: "raise the limit that is named, or plan again",
    4: "loosen slo, or allow more candidates",
    5: "use one of those that are listed",
    6: "the server's administrator sees to its access to prices, or loosen prices.max_age_hours",
    7: "make the workload smaller, or loosen solver.mip_gap",
}
_TEMPORARY: Final = re.compile(r"/(?:[^\s/'\"]+/)*sky-melange-[a-z0-9_]{8}/")


def problem(message: str, *, where: str = "", help_text: str = "") -> dict[str, str]:
    """One entry of `detail`."""
    return {"where": where, "message": message, "help": help_text}


def answer_of_error(error: SkyMelangeError) -> dict[str, Any]:
    """Status, exit code and every mistake of an error; nothing of where the server keeps files."""
    code = error.exit_code
    status = _NO_PRICES if isinstance(error, PriceSourceError) else 500 if code == 1 else INVALID
    advice = _HELP.get(code, "")
    mistakes = error.mistakes if isinstance(error, InputError) else ()
    detail = [problem(_plain(entry.message), where=_where(entry), help_text=advice) for entry in mistakes]
    return {"status": status, "code": code, "detail": detail or [problem(_plain(str(error)), help_text=advice)]}


def answer_of_body(error: ValidationError) -> dict[str, Any]:
    """For a body of another form; without what was sent: it may be long, or a secret."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    detail = [
        problem(entry["msg"], where=".".join(["body", *(str(part)[:60] for part in entry["loc"])]), help_text=_HELP[2])
        for entry in found[:_MOST_SHOWN]
    ]
    return {"status": INVALID, "code": 2, "detail": detail}


def bug_answer(message: str, *, status: int = 500, code: int = 1) -> dict[str, Any]:
    """What is answered where no error of ours says more."""
    return {"status": status, "code": code, "detail": [problem(message, help_text=_HELP[code])]}


def _where(entry: Mistake) -> str:
    source = _plain(entry.source)
    place = source if entry.line is None else f"{source}:{entry.line}"
    return f"{place}: {entry.key}" if entry.key else place


def _plain(text: str) -> str:
    """Without the temporary folder that the work was done in."""
    return _TEMPORARY.sub("", text)
