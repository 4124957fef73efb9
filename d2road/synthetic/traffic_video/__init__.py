"""A generator of roadside videos with exact ground truth; `d2road make-data traffic-video` is its command line.

Data flow: clip_plan (what each clip shows) -> clip_traffic, vehicle_sizes (SUMO drives) -> clip_camera, road_shape
(who looks at what) -> road_background, film (images) -> clip_labels (boxes, tracks, visibility) -> clip_job,
clip_writer (files).

Ground frame of a clip: the camera's foot point on the ground plane is the origin, X right, Y forward (the levelled
viewing direction), Z up, metres; headings from +X towards +Y. The camera frame is x right, y down, z forward.
"""

from d2road.synthetic.traffic_video.clip_writer import make_traffic_video

__all__ = ["make_traffic_video"]
