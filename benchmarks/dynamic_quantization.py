"""What everybody else serves: the int8 graph that onnxruntime's `quantize_dynamic` makes of the same fp32 graph.

Needs `onnx`, which only training and development install.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from service.model.manifest import read_manifest
from service.runtime.onnx_model import OnnxStepModel, load_model


@contextmanager
def quantized_dynamically(folder: Path) -> Iterator[OnnxStepModel]:
    """The folder's fp32 graph with DynamicQuantizeLSTM nodes, loaded on one thread although its rows touch.

    Raises ModelFolderError, and ModuleNotFoundError without onnx.
    """
    # Here and not above: the other benchmarks go without onnx, which comes with training.
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from model_export.folder import built_graph, write_folder

    manifest = read_manifest(folder)
    fp32 = manifest.graphs["fp32"]
    with TemporaryDirectory() as made:
        quantized = Path(made) / "quantized.onnx"
        logging.disable(logging.WARNING)  # it recommends a preparation on the root logger, whatever it is given
        try:
            quantize_dynamic(folder / fp32.file, quantized, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)
        built = built_graph("int8", quantized.read_bytes(), fp32.states)
        into = Path(made) / "model"
        write_folder(into, manifest.model_copy(update={"graphs": {"int8": built.entry}}), {"int8": built})
        yield load_model(into, "int8", allow_batch_dependent=True)
