"""`carousel demo leak`: what one can learn of a neighbour in the batch from one's own probabilities."""
