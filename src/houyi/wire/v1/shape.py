"""What all shapes share: strictness, texts that every store can keep, times, pages, watch lines, problems."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict

from houyi.model.errors import Problem as ModelProblem

T = TypeVar("T")

Text = Annotated[str, Field(max_length=1024, pattern=r"^[^\x00]*$")]
"""No NUL: PostgreSQL keeps none."""
LongText = Annotated[str, Field(max_length=1 << 20, pattern=r"^[^\x00]*$")]
Int = Annotated[int, Strict(), Field(ge=-(1 << 53), le=1 << 53)]
"""What a JSON number holds exactly everywhere; narrower limits have codes of their own and are checked where they are law."""
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Bool = Annotated[bool, Strict()]
Labels = Annotated[dict[Text, Text], Field(max_length=1024, description="Key to value.")]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, UTC.")]
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Revision = Annotated[int, Field(description="The record's revision: its ETag, for If-Match.")]


class Asked(BaseModel):
    """A request's body. Unknown fields are refused, texts are not taken for numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """The body of a verb that takes no arguments; it may be left out."""


class Shown(BaseModel):
    """Part of an answer. Clients ignore fields that they do not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Page(Shown, Generic[T]):
    """One page of a list, oldest first."""

    items: list[T]
    revision: int = Field(description="The store's revision that this page shows: watch with since=REVISION of the first page.")
    next: str | None = Field(
        description="page_token of the next page; null: this was the last. A page may be shorter than asked where a filter fits very few of very many."
    )


class Change(Shown, Generic[T]):
    """One line of a watch. After a `bookmark` a watch may be taken up again at its revision."""

    op: Literal["put", "delete", "bookmark"]
    revision: int
    object: T | None = Field(None, description="The object as it is now.")
    id: str | None = Field(None, description="Of what was deleted.")


class Failure(Shown):
    """Why something failed, as a value."""

    code: str
    detail: str


class FieldProblem(Shown):
    field: str = Field(description="Where: 'body.nics.0.address', 'query.limit' ...")
    problem: str


class ProblemBody(Shown):
    """RFC 9457 problem details (application/problem+json)."""

    type: str = Field(description="URI of the kind of problem.")
    title: str = Field(description="The kind of problem, for people.")
    status: int
    detail: str = Field(description="What is wrong and what to do next.")
    code: str = Field(description="Stable, for programs; listed in docs/ERRORS.md.")
    request_id: str
    fields: list[FieldProblem] | None = Field(None, description="With code invalid_request: what is wrong where.")
    extra: dict[str, Any] | None = Field(None, description="Figures that belong to the code, such as what was asked and what is left.")


def failure(problem: ModelProblem | None) -> Failure | None:
    return None if problem is None else Failure(code=problem.code, detail=problem.detail)


def rfc3339(seconds: float) -> str:
    """Unix seconds as '2026-11-23T07:45:00.123Z'."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rfc3339_or_none(seconds: float) -> str | None:
    """None for 0, which means never."""
    return rfc3339(seconds) if seconds else None
