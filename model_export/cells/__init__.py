"""Recurrent cells, one to a file, written from their equations to be read; docs/learn/cells.md leads through them."""
