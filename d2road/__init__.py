"""Perception for roadside cameras and driving, on Detectron2: the platform below its systems and their command.

    config          keys that all systems share, from a command line to a validated config
    structures      cameras, boxes, 3D boxes, overlaps, depth and heading coding
    layers          state space scan, Mamba-2, linear attention, pooling of regions, deformable convolution
    modeling        backbones and necks: timm, DLA, Swin, ViT; batch norm fusion
    model_zoo       shipped models by name: zoo:NAME
    data            data sets, mappers, samplers, loaders; checks of data before a training
    evaluation      metrics of detection in 2D and 3D as their benchmarks define them
    engine          Trainer, Predictor, launch; meta_arch: the contract of a model
    export          models as files of ONNX, OpenVINO and PyTorch that prove themselves
    runtime         predictions of exported files without torch
    checkpoint      checkpoints that survive a kill, and weights files that run no code
    web             the page in the browser: d2road web
    video           frames and their times from files, streams and devices; videos out
    report          a run as one page: d2road report
    visualization   2D and 3D boxes, bird's-eye view, heat maps, curves
    traffic         trajectories without any model: readers, time-space images, events, baselines
    synthetic       generators of toy data: roadside views, fastener kits, traffic incidents
    utils           errors, registries, files, random states, aliases of old names
    cli             d2road VERB: one module a verb

The systems are `diffusion_det`, `mono3dvg` and `efficientad`; none of these packages but `cli` knows them by name.
Importing this package imports none of its parts.
"""

__version__ = "0.6.0"
