"""The JSON of llama.cpp's `/completion` and `/infill`: every option that it documents, so that none is ignored.

Null is the same as leaving a field out, as there. What is not listed is refused. A token is a byte of UTF-8.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.transport.http.models import Body

_StopJson = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 4}, {"type": "null"}]}
    ),
]
_SamplersJson = Annotated[
    Any,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]}),
]
_BiasJson = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {}}},
                {"type": "object", "additionalProperties": {"type": ["number", "boolean"]}},
                {"type": "null"},
            ]
        }
    ),
]
_PromptJson = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": ["string", "integer", "array"]}, "minItems": 1},
            ]
        }
    ),
]


def _honoured(description: str) -> Any:
    return Field(default=None, description=description)


def _harmless() -> Any:
    return Field(default=None, description="Accepted; it cannot change an answer of this server.")


def _absent(off: str) -> Any:
    return Field(default=None, description=f"Not supported: refused unless it is off, {off}.")


class OptionsBody(Body):
    """What both paths take."""

    model: str | None = _honoured("One of `/v1/models`; the default model if left out or empty.")
    n_predict: int | None = _honoured("Bytes to generate, -1 to 4096; -1, the default, is 4096, and 0 only reads.")
    max_tokens: int | None = _honoured("The same as `n_predict`.")
    max_completion_tokens: int | None = _honoured("The same as `n_predict`.")
    n_cmpl: int | None = _honoured("How many completions, 1 to 16; with several the answer is a list.")
    n: int | None = _honoured("The same as `n_cmpl`.")
    n_indent: int | None = _honoured("A completion ends before the first line that is indented less.")
    stop: _StopJson = _honoured("Up to 4 strings; a completion ends before the first of them.")
    stream: bool | None = _honoured("Tell it as it comes, as server-sent events.")
    temperature: float | None = _honoured("0.8 if left out; 0 takes the likeliest byte.")
    top_k: int | None = _honoured("40 if left out; 0 is all.")
    top_p: float | None = _honoured("0.95 if left out; 1 is all.")
    min_p: float | None = _honoured("0.05 if left out; 0 is all.")
    repeat_penalty: float | None = _honoured("1 to 10, on bytes that are among the last 64; 1 if left out.")
    repeat_last_n: int | None = _honoured("64, or 0 for no repeat penalty.")
    presence_penalty: float | None = _honoured("-2 to 2, for bytes that were generated.")
    frequency_penalty: float | None = _honoured("-2 to 2, for each time a byte was generated.")
    seed: int | None = _honoured("The same seed gives the same text; -1, the default, is any.")
    logit_bias: _BiasJson = _honoured("Pairs of a byte or a string and a bias, or an object; false bans it.")
    ignore_eos: bool | None = _honoured("Never end by itself.")
    samplers: _SamplersJson = _honoured("Which are applied; an order that this server cannot follow is refused.")
    n_probs: int | None = _honoured("Tell so many likeliest bytes at each place, 0 to 16.")
    logprobs: int | None = _honoured("The same as `n_probs`.")
    return_tokens: bool | None = _honoured("Tell the bytes as numbers, too.")
    response_fields: list[str] | None = _honoured("Tell these fields alone; `a/b` is field `b` of `a`.")
    timings_per_token: bool | None = _honoured("Tell timings with each piece of a stream.")
    t_max_predict_ms: int | None = _honoured("End at the first line break after so long; 0 is never.")

    t_max_prompt_ms: int | None = _harmless()
    cache_prompt: bool | None = _harmless()
    id_slot: int | None = Field(default=None, description="Accepted, and told back; there are no slots.")
    n_keep: int | None = _harmless()
    n_discard: int | None = _harmless()
    n_cache_reuse: int | None = _harmless()
    sse_ping_interval: int | None = _harmless()
    backend_sampling: bool | None = _harmless()
    dynatemp_exponent: float | None = _harmless()
    xtc_threshold: float | None = _harmless()
    mirostat_tau: float | None = _harmless()
    mirostat_eta: float | None = _harmless()
    adaptive_decay: float | None = _harmless()
    dry_base: float | None = _harmless()
    dry_allowed_length: int | None = _harmless()
    dry_penalty_last_n: int | None = _harmless()
    dry_sequence_breakers: list[str] | None = _harmless()

    dynatemp_range: float | None = _absent("0")
    typical_p: float | None = _absent("1")
    top_n_sigma: float | None = _absent("-1")
    xtc_probability: float | None = _absent("0")
    mirostat: int | None = _absent("0")
    dry_multiplier: float | None = _absent("0")
    adaptive_target: float | None = _absent("-1")
    min_keep: int | None = _absent("0")
    grammar: str | None = _absent("empty")
    json_schema: Any = _absent("null")
    lora: list[Any] | None = _absent("an empty list")
    post_sampling_probs: bool | None = _absent("false")
    return_progress: bool | None = _absent("false")
    verbose: bool | None = _absent("false")


class LlamaCompletionBody(OptionsBody):
    """llama.cpp's `/completion`."""

    prompt: _PromptJson = Field(
        description="A string, tokens (bytes), or both mixed in a list; or a list of such, which is answered by a list."
    )


class ExtraChunk(Body):
    """A piece of another text, read before the prefix."""

    text: str
    filename: str | None = Field(default=None, description="Accepted; the model reads texts, not names.")
    time: Any = Field(default=None, description="Accepted; llama.vim sends when it picked the chunk.")


class InfillBody(OptionsBody):
    """llama.cpp's `/infill`, as llama.vim and llama.vscode send it."""

    input_prefix: str = Field(description="The lines before the cursor's.")
    input_suffix: str = Field(description="What comes after the cursor.")
    input_extra: list[ExtraChunk] | None = Field(default=None, description="Read before the prefix, oldest first.")
    prompt: str | None = Field(default=None, description="The cursor's line, up to it.")


class Timings(BaseModel):
    """How many bytes were read and generated, and how long it took. cache_n: bytes that were known already."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class TokenProb(BaseModel):
    """A byte and its natural-log probability; `token` is empty if the byte is no character by itself."""

    id: int
    token: str
    bytes: list[int]
    logprob: float


class CompletionProb(TokenProb):
    """The same of a generated byte, with the likeliest at its place."""

    top_logprobs: list[TokenProb]


class Partial(BaseModel):
    """A piece of a stream."""

    index: int
    content: str
    tokens: list[int]
    stop: Literal[False] = False
    id_slot: int
    tokens_predicted: int
    tokens_evaluated: int


class LlamaCompletion(BaseModel):
    """The answer, and the last piece of a stream; with `response_fields` those alone."""

    model_config = ConfigDict(json_schema_extra={"required": []})

    index: int
    content: str
    tokens: list[int]
    id_slot: int
    stop: Literal[True] = True
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: dict[str, Any]
    prompt: str
    has_new_line: bool
    truncated: bool
    stop_type: Literal["none", "eos", "limit", "word"]
    stopping_word: str
    tokens_cached: int
    timings: Timings
    completion_probabilities: list[CompletionProb] | None = None


class Health(BaseModel):
    """The server is warm."""

    status: Literal["ok"] = "ok"


class Modalities(BaseModel):
    """Text alone."""

    vision: bool = False
    audio: bool = False


class Props(BaseModel):
    """What the server is; there are no slots, so it has as many as it is asked for."""

    default_generation_settings: dict[str, Any]
    total_slots: int = 1
    model_alias: str
    model_path: str = Field(description="The model's name: where it lies is nobody's business.")
    chat_template: str = ""
    modalities: Modalities = Modalities()
    build_info: str
