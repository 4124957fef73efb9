"""Readers of detection data sets: COCO, KITTI, Rope3D, DAIR-V2X-I, Omni3D."""
