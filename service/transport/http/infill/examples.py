"""Examples of llama.cpp's paths for the OpenAPI document; every one of them runs in the tests."""

from __future__ import annotations

from typing import Any, Final

INFILL_EXAMPLES: Final[dict[str, Any]] = {
    "llama.vim": {
        "summary": "What llama.vim asks while one types",
        "value": {
            "id_slot": 0,
            "input_prefix": "import os\n\n",
            "input_suffix": "\n\nprint(walk('.'))\n",
            "input_extra": [{"text": "def area(r):\n    return r * r\n", "time": [1, 2], "filename": "shapes.py"}],
            "prompt": "def walk(",
            "n_predict": 64,
            "stop": [],
            "n_indent": 0,
            "top_k": 40,
            "top_p": 0.9,
            "stream": False,
            "samplers": ["top_k", "top_p", "infill"],
            "cache_prompt": True,
            "t_max_prompt_ms": 500,
            "t_max_predict_ms": 1000,
            "response_fields": ["content", "timings/prompt_n", "timings/predicted_n", "truncated", "tokens_cached"],
        },
    },
    "warm-up": {
        "summary": "Read other texts while nobody waits",
        "value": {
            "input_prefix": "",
            "input_suffix": "",
            "input_extra": [{"text": "def area(r):\n    return r * r\n", "filename": "shapes.py"}],
            "prompt": "",
            "n_predict": 0,
            "samplers": [],
            "cache_prompt": True,
            "t_max_prompt_ms": 1,
            "t_max_predict_ms": 1,
            "response_fields": [""],
        },
    },
}

COMPLETION_EXAMPLES: Final[dict[str, Any]] = {
    "line": {
        "summary": "The rest of a line, the likeliest",
        "value": {"prompt": "import os\nfor root, dirs in os.", "n_predict": 80, "temperature": 0, "stop": ["\n"]},
    },
    "several": {
        "summary": "Two prompts, of which one is bytes; the answer is a list",
        "value": {"prompt": ["def ", [99, 108, 97, 115, 115, 32]], "n_predict": 16, "seed": 1, "n_probs": 2},
    },
    "stream": {"summary": "As it comes", "value": {"prompt": "class ", "n_predict": 32, "stream": True}},
}

ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Everything at once, or with `stream` one event a piece; the last has `stop: true`.",
        "content": {
            "text/event-stream": {
                "example": 'data: {"index": 0, "content": "walk(", "tokens": [119, 97, 108, 107, 40], "stop": false, '
                '"id_slot": 0, "tokens_predicted": 5, "tokens_evaluated": 31}\n\n',
            }
        },
    }
}
