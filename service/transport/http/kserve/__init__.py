"""`/v2`: the Open Inference Protocol over REST, with Triton's extensions."""
