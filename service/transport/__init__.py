"""The facades: parse, call, encode; no logic."""
