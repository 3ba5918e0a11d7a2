"""OpenAI's completions and models: what programs written for its API find here."""
