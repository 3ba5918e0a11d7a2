"""Wrong requests, and what Triton 2.51 answers to them: the sentences that its users' programs know.

`test_triton_words.py` sends them to this server, and to Triton itself where it is installed. The model `plain` takes
requests without a sequence, `sequences` is one of Triton's that must have one; here both take either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

PLAIN, SEQUENCES = "plain", "sequences"
_ANY_ID = "[request id: <id_unknown>] "
_BATCH_NOTE = (
    "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended to each "
    "input shape. If you want to specify the full shape including the batch dim in your input dims config, try setting "
    "max_batch_size to zero. See the model configuration docs for more info on max_batch_size."
)


@dataclass(frozen=True)
class Scenario:
    """A request with the one input TOKENS. status: of gRPC; that of REST follows from it.

    grpc_only: REST's JSON cannot say it.  contents: typed contents in the place of raw ones, by field.
    """

    name: str
    status: str
    sentence: str
    model: str = PLAIN
    version: str = ""
    id: str = ""
    parameters: Json = field(default_factory=dict)
    tensor: str = "TOKENS"
    datatype: str = "INT64"
    shape: tuple[int, ...] = (1, 2)
    tokens: tuple[int, ...] = (1, 2)
    outputs: tuple[str, ...] = ()
    raw: bytes | None = None
    contents: Json | None = None
    grpc_only: bool = False


REST_STATUSES = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503, "INTERNAL": 500}


def _invalid(name: str, sentence: str, **more: Any) -> Scenario:
    return Scenario(name, "INVALID_ARGUMENT", sentence, **more)


def _not_started(sequence: object) -> str:
    return (
        f"inference request for sequence {sequence} to model 'sequences' must specify the START flag on the first "
        "request of the sequence"
    )


_NO_SEQUENCE = "inference request to model 'sequences' must specify a non-zero or non-empty correlation ID"

SCENARIOS = (
    Scenario("unknown model", "NOT_FOUND", "Request for unknown model: 'none' is not found", model="none"),
    Scenario("unknown version", "NOT_FOUND", "Request for unknown model: 'plain' version 2 is not found", version="2"),
    _invalid("unknown input", "unexpected inference input 'X' for model 'plain'", tensor="X"),
    _invalid("unknown output", "unexpected inference output 'NO' for model 'plain'", outputs=("NO",)),
    _invalid(
        "wrong datatype",
        f"{_ANY_ID}inference input 'TOKENS' data-type is 'INT32', but model 'plain' expects 'INT64'",
        datatype="INT32",
        raw=b"\0" * 8,
        grpc_only=True,
    ),
    _invalid(
        "flat shape",
        f"{_ANY_ID}unexpected shape for input 'TOKENS' for model 'plain'. Expected [-1,-1], got [2]. {_BATCH_NOTE}",
        shape=(2,),
    ),
    _invalid(
        "shape of three dimensions, with an id",
        "[request id: abc] unexpected shape for input 'TOKENS' for model 'plain'. Expected [-1,-1], got [1,1,2]. "
        f"{_BATCH_NOTE}",
        shape=(1, 1, 2),
        id="abc",
    ),
    _invalid(
        "too many rows",
        f"{_ANY_ID}inference request batch-size must be <= 64 for 'plain'",
        shape=(65, 1),
        tokens=(1,) * 65,
    ),
    _invalid(
        "bytes missing",
        f"{_ANY_ID}input byte size mismatch for input 'TOKENS' for model 'plain'. Expected 16, got 3",
        raw=b"abc",
        grpc_only=True,
    ),
    _invalid(
        "too many elements",
        f"{_ANY_ID}input byte size mismatch for input 'TOKENS' for model 'plain'. Expected 16, got 24",
        contents={"int64_contents": [1, 2, 3]},
        grpc_only=True,
    ),
    _invalid(
        "typed and raw contents",
        "contents field must not be specified when using raw_input_contents for 'TOKENS' for model 'plain'",
        raw=b"\0" * 16,
        contents={"int64_contents": [1, 2]},
        grpc_only=True,
    ),
    _invalid(
        "typed contents of another type",
        "unexpected explicit tensor data for input tensor 'TOKENS' for model 'plain' of type 'INT32', "
        "expected datatype 'INT64'",
        contents={"int_contents": [1, 2]},
        grpc_only=True,
    ),
    _invalid(
        "no contents",
        "unable to find data for input tensor 'TOKENS' for model 'plain' in request.",
        contents={},
        grpc_only=True,
    ),
    _invalid("sequence not started", _not_started(42), model=SEQUENCES, parameters={"sequence_id": 42}),
    _invalid(
        "the id of the request is not told", _not_started(42), model=SEQUENCES, parameters={"sequence_id": 42}, id="7"
    ),
    _invalid("string sequence", _not_started("abc"), model=SEQUENCES, parameters={"sequence_id": "abc"}),
    _invalid("end of none", _not_started(7), model=SEQUENCES, parameters={"sequence_id": 7, "sequence_end": True}),
    _invalid("the greatest number", _not_started(2**63 - 1), model=SEQUENCES, parameters={"sequence_id": 2**63 - 1}),
    _invalid(
        "a negative number",
        _not_started(2**64 - 1),
        model=SEQUENCES,
        parameters={"sequence_id": -1},
        grpc_only=True,  # over REST Triton answers 500
    ),
    _invalid("start without a sequence", _NO_SEQUENCE, model=SEQUENCES, parameters={"sequence_start": True}),
    _invalid("zero", _NO_SEQUENCE, model=SEQUENCES, parameters={"sequence_id": 0, "sequence_start": True}),
    _invalid("empty", _NO_SEQUENCE, model=SEQUENCES, parameters={"sequence_id": "", "sequence_start": True}),
    _invalid(
        "a batch in a sequence",
        "inference request to model 'sequences' must specify batch-size 1 due to requirements of sequence batcher",
        model=SEQUENCES,
        parameters={"sequence_id": 9, "sequence_start": True},
        shape=(2, 1),
    ),
    _invalid(
        "flag of another type",
        "invalid value type for 'sequence_start' parameter, expected bool_param.",
        model=SEQUENCES,
        parameters={"sequence_id": 9, "sequence_start": 1},
        grpc_only=True,
    ),
    _invalid(
        "sequence of another type",
        "invalid value type for 'sequence_id' parameter, expected int64_param or string_param.",
        model=SEQUENCES,
        parameters={"sequence_id": 1.5},
        grpc_only=True,
    ),
    _invalid(
        "timeout of another type",
        "invalid value type for 'timeout' parameter, expected int64_param.",
        parameters={"timeout": "1"},
        grpc_only=True,
    ),
)
