# Images of d2road from the pins of pyproject.toml and scripts/setup_env.sh. They were not built where this project is tested.
#
#   docker build -t d2road .                                         for a CPU
#   docker build -t d2road:cuda --build-arg BASE=nvidia/cuda:12.8.1-cudnn-devel-ubuntu24.04 \
#       --build-arg PYTHON_PACKAGES="python3 python3-dev python3-venv python-is-python3" --build-arg DETECTRON2=source .
#   docker run --rm -v "$PWD:/data" -w /data d2road predict --config-file diffusion_det/toy_roadside/demo.yaml \
#       --weights zoo:diffusion_det_toy --input images --output predictions
#   docker run --rm --gpus all --ipc=host d2road:cuda env
#
# Another package index: --build-arg PIP_INDEX_URL=... and PIP_EXTRA_INDEX_URL, such as one with torch for CPUs alone.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS base
ARG PYTHON_PACKAGES=""
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# detectron2's own source compiles its CUDA operations; "wheel" is its Python part, all that a CPU needs.
ARG DETECTRON2=wheel
ARG DETECTRON2_REVISION=main
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 VENV=/opt/d2road
# sumo of the wheel eclipse-sumo is linked against OpenGL and X11 also where nothing is drawn. Debian's security updates
# take the place of the versions that they mend, so none is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ${PYTHON_PACKAGES} build-essential git libgl1 libx11-6 libxext6 \
        libxrender1 make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE train_net.py ./
COPY scripts scripts
COPY d2road d2road
COPY diffusion_det diffusion_det
COPY efficientad efficientad
COPY mono3dvg mono3dvg
COPY configs configs
RUN python -m venv "$VENV" \
    && if [ "$DETECTRON2" = source ]; then \
        "$VENV/bin/python" -m pip install torch==2.14.1 torchvision==0.29.1 setuptools wheel \
        && FORCE_CUDA=1 "$VENV/bin/python" -m pip install --no-build-isolation \
            "git+https://github.com/facebookresearch/detectron2@$DETECTRON2_REVISION"; \
    fi \
    && PYTHON=python bash scripts/setup_env.sh grounding traffic export
ENV PATH="$VENV/bin:$PATH"

# For work on the project itself: --target dev, and the checkout mounted over /src.
FROM base AS dev
COPY . .
RUN PYTHON=python bash scripts/setup_env.sh dev && touch "$VENV/.ready-dev"
CMD ["bash"]

FROM base
RUN useradd --create-home --uid 10001 d2road
USER 10001
WORKDIR /home/d2road
ENTRYPOINT ["d2road"]
CMD ["--help"]
