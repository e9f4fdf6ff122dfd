"""budgets.yaml -> `Budgets`. Every mistake at once, by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.spending import ANYONE, Budgets, Scope, SpendingLimit
from sky_melange.errors import Mistake
from sky_melange.untrusted import read_text
from sky_melange.workload_file.report import Reading, input_error, key_path

if TYPE_CHECKING:
    from sky_melange.workload_file.budgets_schema import BudgetsFile
    from sky_melange.workload_file.field_types import Section
    from sky_melange.workload_file.nodes import KeyPath, YamlDocument

SCHEMA_ID: Final = "urn:sky-melange:budgets:1"
_LIMIT_BYTES: Final = 1024 * 1024


def read_budgets(path: Path, *, tell: Callable[[tuple[Reading, ...]], None] | None = None) -> Budgets:
    """The budgets in a file. `tell` gets what is not read as it is spelled.

    Raises InputError with every mistake in it, by line: unknown keys, values out of range, no budget at all.
    """
    # PyYAML and pydantic take most of `--help`'s time.
    from pydantic import ValidationError

    from sky_melange.workload_file.budgets_schema import BudgetsFile
    from sky_melange.workload_file.messages import file_mistakes
    from sky_melange.workload_file.understood import Grammar, KnownNames, understood
    from sky_melange.workload_file.yaml_source import parse_yaml

    document = parse_yaml(read_text(path, limit_bytes=_LIMIT_BYTES, allow_pipe=True), source=str(path))
    # Users, workspaces and prefixes are names of their owners: spelled as they are.
    grammar = Grammar(keys=lambda _: "", values=lambda _: "", types=_types)
    document, readings = understood(document, KnownNames(), grammar)
    mistakes = [*document.mistakes, *_further_mistakes(document)]
    try:
        file = BudgetsFile.model_validate(document.root.plain())
    except ValidationError as error:
        raise input_error([*mistakes, *file_mistakes(error, document, BudgetsFile)]) from None
    if mistakes:
        raise input_error(mistakes)
    if readings and tell is not None:
        tell(readings)
    return _to_budgets(file)


def _types(path: KeyPath) -> frozenset[Any]:
    """The types of the value at a path; none of a text."""
    from sky_melange.workload_file.budgets_schema import BudgetsFile, LimitSection
    from sky_melange.workload_file.understood import scalar_types

    sections: dict[int, type[Section]] = {1: BudgetsFile, 3: LimitSection}
    section = sections.get(len(path))
    field = None if section is None else section.model_fields.get(str(path[-1]))
    return frozenset() if field is None else frozenset(scalar_types(field.annotation))


def budgets_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of version 1 of budgets.yaml."""
    from sky_melange.workload_file.budgets_schema import BudgetsFile
    from sky_melange.workload_file.schema_export import schema_of

    return schema_of(BudgetsFile, SCHEMA_ID)


def _further_mistakes(document: YamlDocument) -> Iterator[Mistake]:
    """What the schema cannot express."""
    from sky_melange.workload_file.budgets_schema import SCOPES, BudgetsFile
    from sky_melange.workload_file.nodes import MappingNode

    sections = [document.find((scope,)) for scope in SCOPES]
    # A mistyped section is one mistake, where it stands.
    is_whole = set(document.root.entries) <= set(BudgetsFile.model_fields)
    if is_whole and not any(section is not None and section.plain() for section in sections):
        message = "has no budget; write for example `users: {'*': {usd_per_hour: 10}}`"
        yield Mistake(source=document.source, line=1, message=message)
    for scope, section in zip(SCOPES, sections, strict=True):
        for name, limit in section.entries.items() if isinstance(section, MappingNode) else ():
            if isinstance(limit, MappingNode) and set(limit.entries) <= {"mode"}:
                path = (scope, name)
                message = "has no limit; write usd_per_hour, usd_per_month, or both, for example `usd_per_hour: 20`"
                yield Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)
    for name in (ANYONE, ""):
        path = ("prefixes", name)
        if document.find(path) is not None:
            message = "is no beginning of a name; give `workspaces` or `users` a `*` for a budget on everything"
            yield Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)


def _to_budgets(file: BudgetsFile) -> Budgets:
    sections = ((Scope.USER, file.users), (Scope.WORKSPACE, file.workspaces), (Scope.PREFIX, file.prefixes))
    return Budgets(
        limits=tuple(
            SpendingLimit.of(
                scope=scope,
                name=name,
                usd_per_hour=limit.usd_per_hour,
                usd_per_month=limit.usd_per_month,
                mode=limit.mode,
            )
            for scope, limits in sections
            for name, limit in limits.items()
        ),
        mode=file.mode,
        when_unknown=file.when_unknown,
        reservation_minutes=file.reservation_minutes,
        ledger=file.ledger,
    )
