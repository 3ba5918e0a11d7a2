"""The Open Inference Protocol (KServe v2) with Triton's extensions, as both of its facades understand it.

What a request says, in values that know neither JSON nor protobuf; what it becomes in the domain; what is answered. The
facades in `transport/http/kserve` and `transport/grpc/kserve` turn bytes into these values and back.
"""
