"""llama.cpp's infill and completion, as its editor plug-ins call them."""
