# The server's image: no torch, no compiler, no package cache; runs as a number, on a read-only root.
# Build it with `make image` (deploy/image/build.sh). Both stages start from the same base, so that the environment made in
# the first finds its Python in the last; any base with Python 3.11 and its venv module will do.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /src
# An environment that builds, and one without pip that is taken along.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/carousel

# What changes seldom first: the dependencies of server and client, and of the store that replicas share, at the versions of
# constraints.txt.
COPY pyproject.toml constraints.txt ./
COPY client/pyproject.toml client/pyproject.toml
# pip's configuration and the certificates it trusts are the builder's own; as secrets they leave no trace in the image.
RUN --mount=type=secret,id=pip_conf \
    --mount=type=secret,id=certificates \
    export PIP_CONFIG_FILE=/run/secrets/pip_conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1; \
    if [ -s /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi; \
    python3 -c 'import tomllib; [print(r) for p in ("", "client/") for d in [tomllib.load(open(p + "pyproject.toml", "rb"))["project"]] for r in d["dependencies"] + d.get("optional-dependencies", {}).get("valkey", [])]' > requirements.txt \
    && /opt/build/bin/pip --python /opt/carousel/bin/python install --constraint constraints.txt --requirement requirements.txt

COPY LICENSE README.md CHANGELOG.md ./
COPY service service
COPY model_export model_export
COPY benchmarks benchmarks
COPY client client
RUN --mount=type=secret,id=pip_conf \
    --mount=type=secret,id=certificates \
    export PIP_CONFIG_FILE=/run/secrets/pip_conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1; \
    if [ -s /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi; \
    /opt/build/bin/pip wheel --no-deps --wheel-dir wheels . ./client \
    && /opt/build/bin/pip --python /opt/carousel/bin/python install --no-index --no-deps wheels/*.whl \
    && /opt/carousel/bin/python -m compileall -q /opt/carousel/lib


FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Carousel" \
      org.opencontainers.image.description="A server for autocomplete whose model remembers" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/carousel /opt/carousel
COPY models/python /models/python
# In a container every port is for others, and what is typed is kept in memory alone unless somebody decides otherwise.
# onnxruntime would report its use to its maker; it is told not to.
ENV PATH=/opt/carousel/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    CAROUSEL_HOST=0.0.0.0 \
    CAROUSEL_GRPC_PORT=50051 \
    CAROUSEL_HTTP_PORT=8000 \
    CAROUSEL_METRICS_PORT=9464 \
    CAROUSEL_MODEL=/models/python \
    CAROUSEL_STORE=memory:
# A number, because Kubernetes can't see that a name is not root.
USER 10001:10001
EXPOSE 50051 8000 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['CAROUSEL_HTTP_PORT'] + '/readyz', timeout=2)"]
ENTRYPOINT ["carousel"]
CMD ["serve"]
