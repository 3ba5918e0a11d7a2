"""What is said to who asks wrongly: Triton's own sentences, recorded from Triton 2.51, as errors of the domain's tree.

Programs match on these sentences, so they are kept to the letter, with what Triton puts before some of them. Where
Triton has none, because it would ignore what we refuse, the sentence is ours and names the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable

MODEL_NOT_READY = "Model version not ready"
SERVER_NOT_READY = "Server not ready"
LONGEST_SEQUENCE_ID = 128
UNLOAD_DEPENDENTS = "unload_dependents"
"""Clients send it with every unload; no model here depends on another."""


class Malformed(InvalidArgument):
    """An InvalidArgument whose `str` is the sentence alone, without the field before it."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(field, sentence)
        self.args = (sentence,)


class Unknown(NotFound):
    """A NotFound whose `str` is a sentence of Triton's."""

    def __init__(self, kind: str, name: str, sentence: str) -> None:
        super().__init__(kind, name)
        self.args = (sentence,)


class TimedOut(Unavailable):
    """The request's `timeout` was over before it was answered; nothing was appended."""

    def __init__(self) -> None:
        super().__init__("Request timeout expired", 0.0)


def unknown_model(name: str, version: str = "") -> Unknown:
    """No such model, or no such version of it."""
    of_version = f" version {version}" if version else ""
    return Unknown("model", name, f"Request for unknown model: '{name}'{of_version} is not found")


def no_statistics(name: str, version: str | None = None) -> Malformed:
    """There are no statistics of such a model or version."""
    if version is None:
        return Malformed("name", f"requested model '{name}' is not available")
    return Malformed("version", f"requested model version is not available for model '{name}'")


def no_trace(name: str) -> Malformed:
    """There are no trace settings of such a model."""
    return Malformed("model_name", f"Request for unknown model : {name}")


def no_region(name: str, kind: str = "") -> Unknown:
    """No such region of shared memory, as none can be registered. kind: `system`, `cuda`, or empty for either."""
    of_kind = f"{kind} " if kind else ""
    return Unknown("region", name, f"Unable to find {of_kind}shared memory region: '{name}'")


def no_cuda(name: str) -> Malformed:
    """What Triton says where it was built without GPUs."""
    return Malformed("name", f"failed to register CUDA shared memory region: '{name}', GPUs not supported")


def no_shared_memory(name: str) -> Malformed:
    """The same for memory of the system."""
    sentence = f"failed to register shared memory region: '{name}', not supported: send tensors in the request"
    return Malformed("name", sentence)


def loading_is_off(*, named: bool = False) -> PermissionDenied:
    """Not by this caller. named: there is a tenant whose callers may."""
    way_out = (
        "only callers of the tenant in --model-admin may" if named else "start the server with --model-admin TENANT"
    )
    return PermissionDenied(f"explicit model load / unload is not allowed: {way_out}")


def unknown_to_repository(name: str, there_are: Iterable[str]) -> Malformed:
    """There is no folder of such a model."""
    return Malformed(
        "model", f"failed to load '{name}', failed to poll from model repository; there are: {', '.join(there_are)}"
    )


def not_loaded(name: str, why: str) -> Malformed:
    """What is in the folder cannot be served."""
    return Malformed("model", f"load failed for model '{name}': {why}")


def not_unloaded(name: str) -> Malformed:
    """It is the only version, and a server without its model is one to be stopped."""
    return Malformed(
        "model",
        f"failed to unload '{name}': it has no older version, and the one that serves stays while the server runs",
    )


def no_load_parameters(name: str) -> InvalidArgument:
    """Models come from the folders of the start alone."""
    return InvalidArgument(
        f"parameters.{name}", "is not taken: the model's folder is loaded as it is; put files and configuration there"
    )


class InferRefusals:
    """What is said of one request to infer: the sentences name its model, some of them its id."""

    def __init__(self, model: str, request_id: str = "") -> None:
        self._model = model
        self._of = f"[request id: {request_id or '<id_unknown>'}] "

    def begins_in_newest(self, number: str) -> Malformed:
        """A sequence is to begin in a version that empties."""
        sentence = f"{self._of}a sequence of model '{self._model}' begins in version {number}: name that one, or none"
        return Malformed("model_version", sentence)

    def unexpected_input(self, name: str) -> Malformed:
        """The model has no such input."""
        return Malformed("inputs", f"unexpected inference input '{name}' for model '{self._model}'")

    def unexpected_output(self, name: str) -> Malformed:
        """The model has no such output."""
        return Malformed("outputs", f"unexpected inference output '{name}' for model '{self._model}'")

    def input_twice(self, name: str) -> Malformed:
        """An input stands there twice."""
        return Malformed("inputs", f"{self._of}input '{name}' already exists in request")

    def wrong_inputs(self, given: Sequence[str], missing: Sequence[str]) -> Malformed:
        """None of the inputs, or both."""
        return Malformed(
            "inputs",
            f"{self._of}expected 1 inputs but got {len(given)} inputs for model '{self._model}'. "
            f"Got input(s) {_listed(given)}, but missing required input(s) {_listed(missing)}. "
            "Please provide all required input(s).",
        )

    def wrong_datatype(self, name: str, datatype: str, expected: str) -> Malformed:
        """Another datatype than the model's."""
        return Malformed(
            f"inputs.{name}.datatype",
            f"{self._of}inference input '{name}' data-type is '{datatype}', "
            f"but model '{self._model}' expects '{expected}'",
        )

    def wrong_shape(self, name: str, shape: Sequence[int], expected: Sequence[int] = (-1, -1)) -> Malformed:
        """Not [batch, elements], or whatever the model expects."""
        return Malformed(
            f"inputs.{name}.shape",
            f"{self._of}unexpected shape for input '{name}' for model '{self._model}'. "
            f"Expected [{_sizes(expected)}], got [{_sizes(shape)}]. NOTE: Setting a non-zero max_batch_size in the "
            "model config requires a batch dimension to be prepended to each input shape. If you want to specify the "
            "full shape including the batch dim in your input dims config, try setting max_batch_size to zero. See the "
            "model configuration docs for more info on max_batch_size.",
        )

    def batch_too_large(self, most: int) -> Malformed:
        """More rows than a request may have."""
        sentence = f"{self._of}inference request batch-size must be <= {most} for '{self._model}'"
        return Malformed("inputs", sentence)

    def batch_empty(self, name: str) -> Malformed:
        """No rows at all."""
        return Malformed(
            f"inputs.{name}.shape", f"{self._of}inference request batch-size must be >= 1 for '{self._model}'"
        )

    def size_mismatch(self, name: str, expected: int, got: int) -> Malformed:
        """The bytes of a tensor, or the elements of its shape, are not those that it holds."""
        return Malformed(
            f"inputs.{name}",
            f"{self._of}input byte size mismatch for input '{name}' for model '{self._model}'. "
            f"Expected {expected}, got {got}",
        )

    def too_few_bytes(self, name: str, missing: int) -> Malformed:
        """A REST body ends before the bytes that an input promised."""
        return Malformed(
            f"inputs.{name}",
            f"unexpected size for input '{name}', expecting {missing} additional bytes for model '{self._model}'",
        )

    def too_many_bytes(self) -> Malformed:
        """A REST body holds more bytes than its inputs promised."""
        return Malformed("inputs", f"unexpected additional input data for model '{self._model}'")

    def wrong_element_count(self, name: str, expected: int, got: int) -> Malformed:
        """A tensor of BYTES holds another number of elements than its shape says."""
        return Malformed(
            f"inputs.{name}",
            f"{self._of}unexpected number of string elements {got} for inference input '{name}' "
            f"for model '{self._model}', expecting {expected}",
        )

    def incomplete_string(self, name: str, expected: int, got: int) -> Malformed:
        """An element of BYTES, or the length before it, is cut off."""
        return Malformed(
            f"inputs.{name}",
            f"{self._of}incomplete string data for inference input '{name}' for model '{self._model}', "
            f"expecting {expected} bytes but only {got} bytes available",
        )

    def mixed_contents(self, name: str) -> Malformed:
        """raw_input_contents and typed contents in one request."""
        return Malformed(
            f"inputs.{name}.contents",
            f"contents field must not be specified when using raw_input_contents for '{name}' "
            f"for model '{self._model}'",
        )

    def no_data(self, name: str) -> Malformed:
        """A tensor without elements where its shape promises some."""
        return Malformed(
            f"inputs.{name}", f"unable to find data for input tensor '{name}' for model '{self._model}' in request."
        )

    def wrong_contents(self, name: str, given: str, expected: str) -> Malformed:
        """Typed contents in another field than that of the datatype."""
        return Malformed(
            f"inputs.{name}.contents",
            f"unexpected explicit tensor data for input tensor '{name}' for model '{self._model}' "
            f"of type '{given}', expected datatype '{expected}'",
        )

    def not_started(self, sequence: int | str) -> Malformed:
        """A request for a sequence that is not there: never begun, ended, or past its retention."""
        return Malformed(
            "parameters.sequence_id",
            f"inference request for sequence {sequence} to model '{self._model}' must specify the START flag on the "
            "first request of the sequence",
        )

    def no_sequence(self) -> Malformed:
        """START or END without a sequence."""
        return Malformed(
            "parameters.sequence_id",
            f"inference request to model '{self._model}' must specify a non-zero or non-empty correlation ID",
        )

    def batch_in_sequence(self) -> Malformed:
        """Several rows in a request of a sequence."""
        return Malformed(
            "inputs",
            f"inference request to model '{self._model}' must specify batch-size 1 due to requirements of "
            "sequence batcher",
        )


def sequence_id_too_long() -> Malformed:
    """A string that is longer than Triton takes."""
    sentence = f"string correlation ID cannot be longer than {LONGEST_SEQUENCE_ID} characters"
    return Malformed("parameters.sequence_id", sentence)


def wrong_type(name: str, expected: str) -> Malformed:
    """A parameter of another type."""
    return Malformed(f"parameters.{name}", f"invalid value type for '{name}' parameter, expected {expected}.")


def unknown_parameter(name: str, where: str, there_are: Iterable[str]) -> InvalidArgument:
    """Nothing is ignored: a parameter that we do not know could have changed the answer."""
    others = ", ".join(there_are)
    return InvalidArgument(
        f"{where}.{name}", f"there is no such parameter; there are: {others}" if others else "none is taken"
    )


def reserved_parameter(name: str) -> Malformed:
    """A name that Triton keeps for itself."""
    return Malformed(
        f"parameters.{name}",
        "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified.",
    )


def _sizes(shape: Sequence[int]) -> str:
    return ",".join(map(str, shape))


def _listed(names: Sequence[str]) -> str:
    return "[" + ",".join(f"'{name}'" for name in names) + "]"
