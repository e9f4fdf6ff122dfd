"""The kinds of value in workload.yaml: patterns of text, ranges of numbers, lists, and what all sections share."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict

NAME: Final = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"
WORD: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MODEL_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
PLACE: Final = r"^[a-z0-9]+(/[^\x00-\x1f\x7f-\x9f\u2028\u2029]+)?$"
ONE_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
ENGINE_ARGUMENT: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
ENVIRONMENT_VARIABLE: Final = r"^[A-Z_][A-Z0-9_]*$"
VARIABLE_OR_NONE: Final = r"^(none|[A-Z_][A-Z0-9_]*)$"

PATTERN_MEANINGS: Final = {
    NAME: "must be lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen",
    WORD: "must be letters, digits, `.`, `_` and `-`, and begin with a letter or digit",
    MODEL_ID: "must be a Hugging Face model id: `organisation/name`, or a bare name",
    PLACE: "must be a cloud, or a cloud and a region: `aws` or `aws/us-east-1`",
    ONE_LINE: "must be one line of text without control characters",
    ENGINE_ARGUMENT: "must hold no line break and no control character",
    ENVIRONMENT_VARIABLE: "must be the NAME of an environment variable: capital letters, digits and `_`",
    VARIABLE_OR_NONE: "must be none, or the NAME of an environment variable: capital letters, digits and `_`",
}

MAX_LOSSES: Final = 8
MAX_COUNT: Final = 1_000_000
MAX_TOKENS: Final = 100_000_000
MS_PER_DAY: Final = 86_400_000

_Item = TypeVar("_Item")
# pydantic's strict mode wants tuples and enum members, which YAML does not have; their items stay strict.
ListOf: TypeAlias = Annotated[tuple[_Item, ...], Strict(False)]
Word: TypeAlias = Annotated[str, Field(pattern=WORD, max_length=64)]
Place: TypeAlias = Annotated[str, Field(pattern=PLACE, max_length=200)]
OneLine: TypeAlias = Annotated[str, Field(pattern=ONE_LINE, max_length=200)]
Edge: TypeAlias = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Weight: TypeAlias = Annotated[float, Field(ge=0)]
Milliseconds: TypeAlias = Annotated[float | None, Field(gt=0, le=MS_PER_DAY)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class Section(BaseModel):
    """What all sections share: no unknown keys, no silent conversions, no NaN."""

    # Pydantic 2.9 keeps names that begin with `model_` for itself.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
