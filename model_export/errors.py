"""What can go wrong between a corpus and a model folder; every message says the cause and the way out."""


class ExportError(Exception):
    """Base of all errors of `model_export`."""


class CorpusError(ExportError):
    """The corpus cannot be used: nothing was found, or an option does not fit it."""


class TrainingError(ExportError):
    """Training cannot start or resume as asked."""


class ParityError(ExportError):
    """The exported graph and the model it came from disagree; nothing was exported."""
