"""The JSON of `/v2`, strict as everywhere: a wrong type or an unknown member is refused, never guessed or ignored."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, JsonValue, RootModel, ValidationError
from pydantic.json_schema import SkipJsonSchema

from service.transport.http.models import Body
from service.transport.http.strict_json import read_json

M = TypeVar("M", bound=BaseModel)
Parameter = bool | int | float | str
Size = Annotated[int, Field(ge=0)]


class TensorParameters(Body):
    """How an input's elements are sent. There is no shared memory: naming a region is refused."""

    binary_data_size: Size | SkipJsonSchema[None] = Field(
        default=None, description="So many bytes behind the JSON hold the elements, in place of `data`."
    )
    shared_memory_region: SkipJsonSchema[str | None] = None
    shared_memory_byte_size: SkipJsonSchema[int | None] = None
    shared_memory_offset: SkipJsonSchema[int | None] = None


class InputBody(Body):
    """A tensor: `TEXT` or `TOKENS`, or `VALUES` of a model of numbers."""

    name: str
    shape: list[int] = Field(description="[rows, elements], or [rows, steps, width] of numbers")
    datatype: str
    data: list[Any] | SkipJsonSchema[None] = Field(
        default=None, description="The elements, row by row, nested like the shape or flat."
    )
    parameters: TensorParameters = TensorParameters()


class OutputParameters(Body):
    """How an output is sent."""

    binary_data: bool | SkipJsonSchema[None] = Field(default=None, description="As bytes behind the JSON.")
    shared_memory_region: SkipJsonSchema[str | None] = None
    shared_memory_byte_size: SkipJsonSchema[int | None] = None
    shared_memory_offset: SkipJsonSchema[int | None] = None


class OutputBody(Body):
    """An output that is wanted."""

    name: str
    parameters: OutputParameters = OutputParameters()


class InferBody(Body):
    """A request to infer."""

    id: str = Field(default="", description="Comes back with the answer.")
    inputs: list[InputBody]
    outputs: list[OutputBody] = Field(default_factory=list, description="All if left out or empty.")
    parameters: dict[str, Parameter] = Field(
        default_factory=dict,
        description="`sequence_id` (a number or a string), `sequence_start`, `sequence_end`, `timeout` (microseconds), "
        "`top_k` (1 to 256), `max_bytes` (of the suggestion, 1 to 512), `stop` (word, line, block, none), "
        "`steps` (of a forecast, 1 to 1024), `binary_data_output`.",
    )


class IndexBody(Body):
    """Which models to list."""

    ready: bool = False


class SettingsBody(RootModel[dict[str, JsonValue]]):
    """Settings that are to be changed: none can be."""


def read_body(kind: type[M], body: bytes) -> M:
    """A body of JSON, whatever media type it came under: the protocol's clients name none.

    Raises InvalidArgument for what is no JSON, RequestValidationError for JSON of another form.
    """
    try:
        return kind.model_validate(read_json(body))
    except ValidationError as error:
        raise RequestValidationError(
            [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        ) from error


class AnswerParameters(BaseModel):
    """What the answer depends on beside the request."""

    model_digest: str
    numerics_id: str


class LoadParameters(Body):
    """None is taken: a model's folder is loaded as it is."""


class LoadBody(Body):
    """The body of a load."""

    parameters: LoadParameters = LoadParameters()


class UnloadParameters(Body):
    """No model here depends on another."""

    unload_dependents: bool = False


class UnloadBody(Body):
    """The body of an unload."""

    parameters: UnloadParameters = UnloadParameters()


class OutputAnswer(BaseModel):
    """An output; its elements flat in `data`, or as bytes behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | SkipJsonSchema[None] = None
    parameters: dict[str, int] | SkipJsonSchema[None] = None


class InferAnswerBody(BaseModel):
    """The answer to a request."""

    id: str | SkipJsonSchema[None] = None
    model_name: str
    model_version: str
    parameters: AnswerParameters
    outputs: list[OutputAnswer]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor; -1 in its shape is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexedModel(BaseModel):
    """A model of the repository."""

    name: str
    version: str
    state: str
    reason: str


class Statistics(BaseModel):
    """What was inferred, by model; as Triton's."""

    model_stats: list[dict[str, Any]]
