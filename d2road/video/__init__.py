"""Videos: frames with their presentation times from files, folders, streams and devices, and videos written."""

from d2road.video.animation import is_animation
from d2road.video.frame import Frame, FrameSource
from d2road.video.sources import open_source, with_first_frame
from d2road.video.video_file import VideoFile
from d2road.video.video_writer import VideoWriter

__all__ = ["Frame", "FrameSource", "VideoFile", "VideoWriter", "is_animation", "open_source", "with_first_frame"]
