"""`carousel bench graph`: what the int8 graph gains over fp32 and over DynamicQuantizeLSTM, as ratios of one run."""
