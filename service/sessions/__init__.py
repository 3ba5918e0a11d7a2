"""Sessions: a text under edit per session, every request applied once or not at all, and what the engine is told of it.

Knows no protocol, no event loop and no clock. `service.Sessions` is the front door; `commands` is what it takes and
answers, `ports` what it needs: an engine per model and a store.
"""
