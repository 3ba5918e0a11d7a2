"""The training commands of `carousel`: parse, call, print. They join the command line by entry point.

Nothing here imports torch or onnx until a command runs, so that the command line stays quick and works without them.
"""

from model_export.commands.adopt import adopt
from model_export.commands.evaluate import evaluate
from model_export.commands.export import export
from model_export.commands.lab import lab
from model_export.commands.train import train

__all__ = ["adopt", "evaluate", "export", "lab", "train"]
