"""Drawings of labels and predictions for people. Arrays in, arrays out; no Detectron2."""

from d2road.visualization.bev_drawing import BevView, draw_bev, fit_view
from d2road.visualization.boxes2d_drawing import class_color, contact_sheet, draw_instances
from d2road.visualization.boxes3d_drawing import draw_boxes3d
from d2road.visualization.heatmap_drawing import draw_heatmap, draw_mask_outline
from d2road.visualization.heatmap_figure import draw_heatmap_figure
from d2road.visualization.scene_drawing import SceneObjects, draw_scene, side_by_side
from d2road.visualization.sentence_drawing import draw_sentence

__all__ = [
    "BevView",
    "SceneObjects",
    "class_color",
    "contact_sheet",
    "draw_bev",
    "draw_boxes3d",
    "draw_heatmap",
    "draw_heatmap_figure",
    "draw_instances",
    "draw_mask_outline",
    "draw_scene",
    "draw_sentence",
    "fit_view",
    "side_by_side",
]
