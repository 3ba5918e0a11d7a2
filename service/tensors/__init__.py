"""Models that read tensors and no text: series of numbers, and texts of whole words. Asked over `/v2` alone.

A session is a text of bytes, so such a model has none; what it has is sequences, which carry its states between
requests. Up to down: `sequences` keeps states and logs, `running` calls the models, `ports` says what they are.
"""
