"""The protocol as Triton's own client has it: messages, fields, methods, as JSON. Runs in that client's environment."""

from __future__ import annotations

import json
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2  # type: ignore[import-not-found]  # in that environment alone


def fields(message: Any, described: dict[str, Any]) -> None:
    """Add a message, and those within it."""
    described[message.full_name] = {
        field.name: [field.number, field.type, field.message_type.full_name if field.message_type else ""]
        for field in message.fields
    }
    for nested in message.nested_types:
        fields(nested, described)


def main() -> None:
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    for file in (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR):
        for message in file.message_types_by_name.values():
            fields(message, messages)
        for name, enum in file.enum_types_by_name.items():
            enums[name] = {value.name: value.number for value in enum.values}
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    methods = {method.name: [method.input_type.full_name, method.output_type.full_name] for method in service.methods}
    print(json.dumps({"messages": messages, "enums": enums, "methods": methods}))


if __name__ == "__main__":
    main()
