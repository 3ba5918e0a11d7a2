"""Training a language model: streams of documents, the schedule, the loop, checkpoints and what a person sees of it."""
