"""What a body of the control plane may look like, and the words that refuse any other.

One pydantic model per shape: it validates, and it is the documentation in the OpenAPI.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quant50lib.simulator.refusals import Refusal


def unsaid() -> Any:
    """The default of a key that may be left out, and is None then; null is not taken for it."""
    return Field(default_factory=lambda: None)


class Shape(BaseModel):
    """A JSON object with known keys only, and no value bent into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _know_the_keys(cls, value: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        unknown = sorted(str(key) for key in value if key not in known) if _is_map(value) else []
        if unknown:
            listed = ", ".join(known) or "none"
            raise ValueError(f"unknown key {', '.join(unknown)}; known: {listed}")
        return value

    @property
    def given(self) -> dict[str, Any]:
        """The keys that the sender wrote."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class OneOf(Shape):
    """A JSON object of which exactly one key is given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError(
                f"exactly one of these is needed: {', '.join(type(self).model_fields)}"
            )
        return self

    @property
    def chosen(self) -> tuple[str, Any]:
        """The key that is given, and its value."""
        [name] = self.model_fields_set
        return name, getattr(self, name)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def explain(errors: Iterable[Any]) -> str:
    """The errors of pydantic in one line: where, and what is allowed."""
    return "; ".join(_explain(error) for error in errors)


def _explain(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"] if part != "body")
    words = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}: {words}" if place else words


def read(shape: type[Any], value: Any) -> Any:
    """The value as an instance of the shape.

    Raises
    ------
    Refusal
        422, naming the key and what is allowed.
    """
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise Refusal(422, None, explain(error.errors())) from error
