"""A cell's `step`, the equations as they stand in its file, as torch.fx follows it: a graph of its operations."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, fx, nn

from model_export.cells.cell import Cell, Signals, States


class _OneStep(nn.Module):
    """A step whose states come one by one."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, *states: Tensor) -> tuple[States, Signals]:
        return self.cell.step(x, states)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Nothing is a leaf: the equations themselves are wanted."""
        return False


def followed(cell: Cell) -> fx.GraphModule:
    """The step as a module: x [rows, inputs] and the states one by one in; the states after and all signals out.

    Its weights are the cell's own. Raises TrainingError for a cell that has no single steps.
    """
    module = _OneStep(cell)
    return fx.GraphModule(module, _Tracer().trace(module))


def signal_nodes(graph: fx.Graph) -> Mapping[str, fx.Node]:
    """The operation that makes each signal, by its letter; what is made from it stands after it."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    _, signals = output.args[0]
    return dict(signals)
