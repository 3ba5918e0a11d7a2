"""Examples of OpenAI's paths for the OpenAPI document; every one of them runs in the tests."""

from __future__ import annotations

from typing import Any, Final

COMPLETION_EXAMPLES: Final[dict[str, Any]] = {
    "line": {
        "summary": "The rest of a line, the likeliest",
        "value": {"prompt": "import os\nfor root, dirs in os.", "max_tokens": 80, "temperature": 0, "stop": "\n"},
    },
    "ideas": {
        "summary": "Three ideas, the same ones every time",
        "value": {"prompt": "def ", "n": 3, "max_tokens": 24, "temperature": 0.8, "seed": 7},
    },
    "between": {
        "summary": "What fits between two texts",
        "value": {"prompt": "def area(r):\n    return ", "suffix": "\n\nprint(area(2))\n", "max_tokens": 32},
    },
    "score": {
        "summary": "How likely a text is: nothing is generated",
        "value": {"prompt": "import os", "max_tokens": 0, "echo": True, "logprobs": 5},
    },
    "tokens": {
        "summary": "Two prompts of tokens, which are bytes",
        "value": {"prompt": [[105, 109], [100, 101, 102, 32]], "max_tokens": 8},
    },
    "stream": {
        "summary": "As it comes",
        "value": {"prompt": "class ", "stream": True, "stream_options": {"include_usage": True}},
    },
}

COMPLETION_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Everything at once, or with `stream` one chunk of the same shape after another, then `[DONE]`.",
        "headers": {
            "x-carousel-revision": {
                "description": "The revision of the pinned session that holds the prompt.",
                "schema": {"type": "string"},
            }
        },
        "content": {
            "application/json": {
                "example": {
                    "id": "cmpl-9f2c",
                    "object": "text_completion",
                    "created": 1767225600,
                    "model": "python",
                    "system_fingerprint": "fp_44709d6fcb83d92a",
                    "choices": [{"text": "walk(", "index": 0, "logprobs": None, "finish_reason": "length"}],
                    "usage": {"prompt_tokens": 31, "completion_tokens": 5, "total_tokens": 36},
                }
            },
            "text/event-stream": {
                "example": 'data: {"id": "cmpl-9f2c", "object": "text_completion", "created": 1767225600, "model": '
                '"python", "system_fingerprint": "fp_44709d6fcb83d92a", "choices": [{"text": "walk(", "index": 0, '
                '"logprobs": null, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n',
            },
        },
    }
}
