"""How an option is declared: `option` in a `Section`, a pydantic model. Imported at planning, so without torch."""

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    ValidationError,
)
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from relane.errors import InputError

Dtype = Literal["float32", "bfloat16"]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareAbove0 = Annotated[float, Field(gt=0, le=1)]
Pixels = Annotated[int, Field(ge=0, json_schema_extra={"unit": "px"})]
Tokens = Annotated[int, Field(ge=1, json_schema_extra={"unit": "tokens"})]
Metres = Annotated[float, Field(gt=0, json_schema_extra={"unit": "m"})]
Crf = Annotated[int, Field(ge=0, le=51)]


def option(default: Any, meaning: str, *, unit: str = "", rerun: bool = True, **bounds: Any) -> Any:
    """A field of a section.

    default: its value where none is given; `...` where one must be. meaning: what config/README.md and --help say.
    unit: of the number. rerun: False where another value changes no result, so that it is never a reason to run again.
    bounds: pydantic's: ge, gt, le, lt, multiple_of, pattern, min_length, max_length.
    """
    extra = ({"unit": unit} if unit else {}) | ({} if rerun else {"rerun": False})
    return Field(default, description=meaning, **({"json_schema_extra": extra} if extra else {}), **bounds)


class Distinct:
    """Annotates a list without repetitions."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"uniqueItems": True}

    @staticmethod
    def check(items: list) -> list:
        """The list; ValueError names what stands in it again."""
        again = [item for number, item in enumerate(items) if item in items[:number]]
        if again:
            raise ValueError(f"has {again[0]!r} twice")
        return items


# Of a value that may stand alone or in a list: Annotated[Annotated[X, ALONE] | Annotated[list[X], SEVERAL], EITHER].
# Messages are then about the alternative that was meant.
ALONE, SEVERAL = Tag("alone"), Tag("several")
EITHER = Discriminator(lambda value: "several" if isinstance(value, list) else "alone")


class Section(BaseModel):
    """A section of the configuration, or a part of one; its options are its fields, with their defaults.

    key: the section's key in the configuration, for messages; given to the class, and inherited.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
    KEY: ClassVar[str] = ""

    def __init_subclass__(cls, key: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if key:
            cls.KEY = key

    @classmethod
    def of(cls, values: Namespace | Mapping[str, Any]) -> Self:
        """The section's options among a command line's arguments or in a mapping, checked each and together.

        Raises InputError that names the key.
        """
        given = values if isinstance(values, Mapping) else vars(values)
        made = cls.read({name: given[name] for name in cls.model_fields if name in given})
        made.check()
        return made

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """The section of these values, each checked by itself. Raises InputError that names the key."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(describe(error, values, cls.KEY)) from None

    def check(self) -> None:
        """Raise InputError where options do not go together."""

    def replace(self, **changes: Any) -> Self:
        """The same with some options changed, and checked."""
        return self.of(dict(self) | changes)


class Checked:
    """For settings that library code is called with: those made by hand raise InputError too, and are checked."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(describe(error, values, self.KEY)) from None
        self.check()


def place_of(error: Mapping[str, Any], values: Any) -> list[str | int]:
    """Where in the values an error of pydantic's is; names that it gives to alternatives of a type are left out."""
    place: list[str | int] = []
    for part in error["loc"]:
        if isinstance(values, Mapping) and (part in values or error["type"] == "missing"):
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part]
        else:
            continue
        place.append(part)
    return place


def first(error: ValidationError, values: Any) -> tuple[list[str | int], dict[str, Any]]:
    """The first error, those of whole sections before those of keys, and where it is."""
    found = [(place_of(one, values), one) for one in error.errors(include_url=False)]
    return min(found, key=lambda pair: (len(pair[0]), [str(part) for part in pair[0]]))


def describe(error: ValidationError, values: Any, key: str = "") -> str:
    """The first thing that is wrong with the values of a section: the key's full name, its value, what it should be."""
    place, one = first(error, values)
    name = ".".join(map(str, [key] * bool(key) + place))
    if one["type"] == "missing":
        return f"{name} is missing; it has no default"
    said = re.sub(r"^(Value error, |\w+ (?=should ))| or instance of \w+$", "", one["msg"])
    return f"{name}: {one['input']!r} {said}"
