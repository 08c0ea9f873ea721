# An image with the command mmcnv2, for the CPU; docs/how_to/docker.md says how to build it for CUDA.
ARG BASE=ubuntu:24.04
# The same system with a compiler; for CUDA one with nvcc, which compiles mmcv's operators.
ARG BUILD_BASE=ubuntu:24.04

# hadolint ignore=DL3006
FROM ${BUILD_BASE} AS build
# Empty: the index that pip is set to, whose torch may be one for CUDA (3 GB).
ARG TORCH_INDEX
ARG FORCE_CUDA=0
ARG TORCH_CUDA_ARCH_LIST
# Versions are those of the system, which keeps only the newest.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# Wheels beside the Dockerfile, in the folder wheels/, are used; one of onedl-mmcv saves the compiling.
RUN VENV=/opt/venv WHEELS=wheels tools/docker/install.sh

# hadolint ignore=DL3006
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home mmcnv2 \
    && install -d -o mmcnv2 -g mmcnv2 /work /home/mmcnv2/.cache
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
USER 10001
WORKDIR /work
EXPOSE 8000 7860
# Of `mmcnv2 serve`; compose.yaml has that of the demo.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["mmcnv2"]
CMD ["--help"]
