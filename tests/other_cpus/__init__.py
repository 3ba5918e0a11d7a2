"""The same graph on CPUs that this machine does not have, emulated by qemu."""
