"""Every figure of the README comes from a command here: `carousel bench ...`.

What a benchmark measures stands in a module of its own; how figures are shown, kept and drawn stands once, in `report`
and `pictures`; which server they are measured on, in `serving`.
"""
