"""From meshes to pixels: back-face culling, a depth buffer per object, textures, supersampling."""

from dataclasses import dataclass

import cv2
import numpy as np

from d2road.structures.polygons import clip_convex
from d2road.synthetic.roadside.meshes import MAX_CORNERS, SolidMesh, cross
from d2road.synthetic.roadside.textures import TILE, bank
from d2road.synthetic.roadside.views import View

NEAR_CLIP_M = 0.5
# Polygon corners reach OpenCV in 1/16 pixels.
SHIFT = 4
_NEXT_CORNER = np.roll(np.arange(MAX_CORNERS), -1)


@dataclass(frozen=True)
class Light:
    """Sun and sky of a view: unit direction towards the sun, strengths, and the haze that distance adds."""

    sun: np.ndarray
    sun_strength: float
    ambient: float
    haze_color: np.ndarray
    haze_per_m: float

    def haze(self, distance_m: np.ndarray) -> np.ndarray:
        """Share of haze in what is seen at a distance."""
        return 1 - np.exp(-self.haze_per_m * np.asarray(distance_m))


@dataclass(frozen=True)
class Patch:
    """A rendered object: premultiplied colour (H, W, 3) and coverage (H, W), float32, at (x0, y0) of the image."""

    x0: int
    y0: int
    color: np.ndarray
    alpha: np.ndarray


def project_polygon(view: View, points: np.ndarray, margin_px: float = 64.0) -> np.ndarray:
    """Pixels (K, 2) of a convex world polygon (N, 3), clipped near the camera and around the image; may be empty."""
    cam = view.to_camera(points)
    cam = clip_convex(cam, cam[:, 2] - NEAR_CLIP_M)
    K, (width, height) = view.camera.K, view.size
    edges = (
        (1, 0, -(-margin_px - K[0, 2]) / K[0, 0]), (-1, 0, (width + margin_px - K[0, 2]) / K[0, 0]),
        (0, 1, -(-margin_px - K[1, 2]) / K[1, 1]), (0, -1, (height + margin_px - K[1, 2]) / K[1, 1]),
    )  # fmt: skip
    for edge in edges:
        if len(cam) < 3:
            return np.zeros((0, 2))
        cam = clip_convex(cam, cam @ np.array(edge, dtype=np.float64))
    if len(cam) < 3:
        return np.zeros((0, 2))
    return view.camera.project(cam)[0]


def fixed_point(pixels: np.ndarray) -> np.ndarray:
    """Continuous pixels as OpenCV's fixed-point corners (its pixel centres are whole numbers, ours halves)."""
    return np.round((np.asarray(pixels) - 0.5) * (1 << SHIFT)).astype(np.int32)


def shade_faces(mesh: SolidMesh, normals: np.ndarray, centers: np.ndarray, view: View, light: Light) -> np.ndarray:
    """(F, 3) colour of each face: sky light from above, sun, a little reflection of the sky, haze."""
    colors, gloss = mesh.colors, mesh.gloss
    sky = 0.62 + 0.38 * normals[:, 2]
    sun = np.clip(normals @ light.sun, 0, None)
    lit = colors * (light.ambient * sky + light.sun_strength * sun)[:, None]
    to_eye = view.position - centers
    distance = np.linalg.norm(to_eye, axis=1)
    mirrored = 2 * (np.sum(normals * to_eye, axis=1) / distance)[:, None] * normals - to_eye / distance[:, None]
    # What the face mirrors: bright sky above, dark street below, a hot spot near the sun.
    mirror = np.clip(0.35 + 0.9 * mirrored[:, 2], 0.05, 1.0) * light.ambient
    mirror += light.sun_strength * 1.5 * np.clip(mirrored @ light.sun, 0, 1) ** 24
    lit = lit * (1 - 0.5 * gloss[:, None]) + (gloss * 0.42 * mirror)[:, None] * np.array([1.0, 0.97, 0.93])
    haze = light.haze(distance)[:, None]
    return lit * (1 - haze) + light.haze_color * haze


def _scale_of(size_px: float) -> int:
    """Supersampling: small objects need it most, large ones cost most."""
    return 3 if size_px < 100 else 2 if size_px < 300 else 1


def render_mesh(mesh: SolidMesh, origin: np.ndarray, heading: float, view: View, light: Light) -> Patch | None:
    """Draw one object that stands at `origin` (2,) on the ground with its x axis along `heading`.

    Returns:
        Its patch, or None if it lies outside the image or reaches behind the near plane.
    """
    return render_vertices(mesh, mesh.stand_at(origin, heading), view, light)


def render_vertices(mesh: SolidMesh, world: np.ndarray, view: View, light: Light) -> Patch | None:
    """Draw one object whose vertices stand at `world` (V, 3); returns as `render_mesh`."""
    cam = view.to_camera(world)
    if cam[:, 2].min() < NEAR_CLIP_M:
        return None
    pixels = view.camera.project(cam)[0]
    x0, y0 = np.clip(np.floor(pixels.min(axis=0)).astype(int) - 1, 0, view.size)
    x1, y1 = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 1, 0, view.size)
    if x1 <= x0 or y1 <= y0:
        return None
    scale = _scale_of(max(x1 - x0, y1 - y0))
    corners = (pixels - [x0, y0]) * scale
    normals, centers = face_normals(world[mesh.faces])
    visible = np.sum(normals * (view.position - centers), axis=1) > 0
    colors = shade_faces(mesh, normals, centers, view, light)
    size = ((y1 - y0) * scale, (x1 - x0) * scale)
    planes = _inverse_depth_planes(view, normals, centers, (x0, y0), scale)
    ids = _depth_buffer(mesh, corners, visible, planes, size)
    lut = np.concatenate([np.zeros((1, 3)), colors]).astype(np.float32)
    image: np.ndarray = np.take(lut, ids + 1, axis=0, mode="clip")
    gain = _texture_gain(mesh, corners, visible, ids)
    cv2.multiply(image, cv2.merge([gain, gain, gain]), dst=image)
    mask: np.ndarray = (ids >= 0).astype(np.float32)
    if scale > 1:
        target = (x1 - x0, y1 - y0)
        image = cv2.resize(image, target, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, target, interpolation=cv2.INTER_AREA)
    return Patch(int(x0), int(y0), image, mask)


def face_normals(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals and centres, both (F, 3), of faces (F, 12, 3) whose last corner may repeat (Newell's method)."""
    center = corners.mean(axis=1, keepdims=True)
    relative = corners - center
    normals = cross(relative, relative[:, _NEXT_CORNER]).sum(axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.maximum(length, 1e-12), center[:, 0]


def _inverse_depth_planes(
    view: View, normals: np.ndarray, centers: np.ndarray, corner_px: tuple[int, int], scale: int
) -> np.ndarray:
    """(F, 3) a, b, c with 1 / z = a u + b v + c for the whole pixels u, v of the patch."""
    n = normals @ view.R.T
    offset = np.sum(n * view.to_camera(centers), axis=1, keepdims=True)
    offset = np.where(np.abs(offset) < 1e-9, 1e-9, offset)
    a, b, c = ((n @ np.linalg.inv(view.camera.K)) / offset).T
    half = 0.5 / scale
    c = c + a * (corner_px[0] + half) + b * (corner_px[1] + half)
    return np.stack([a / scale, b / scale, c], axis=1)


def _extents(mesh: SolidMesh, corners: np.ndarray, size: tuple[int, int]) -> list[list[int]]:
    """Whole-pixel bounds u0, v0, u1, v1 of each face, cut to an image of `size` (H, W)."""
    polygons = corners[mesh.faces]
    low = np.maximum(np.floor(polygons.min(axis=1)), 0)
    high = np.minimum(np.ceil(polygons.max(axis=1)) + 1, [size[1], size[0]])
    return np.concatenate([low, high], axis=1).astype(int).tolist()


def _depth_buffer(
    mesh: SolidMesh, corners: np.ndarray, visible: np.ndarray, planes: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(H, W) number of the face that each sample sees, -1 for none."""
    ids = np.full(size, -1, dtype=np.int32)
    bases = ids.copy()  # the same without decals
    depth = np.zeros(size, dtype=np.float32)
    fixed = fixed_point(corners)
    for number, (u0, v0, u1, v1) in enumerate(_extents(mesh, corners, size)):
        if not visible[number] or u1 <= u0 or v1 <= v0:
            continue
        mask = np.zeros((v1 - v0, u1 - u0), dtype=np.uint8)
        polygon = fixed[mesh.faces[number, : mesh.counts[number]]] - np.array(
            [u0 << SHIFT, v0 << SHIFT], dtype=np.int32
        )
        cv2.fillConvexPoly(mask, polygon, 1, cv2.LINE_8, SHIFT)
        seen = mask.view(bool)
        window = ids[v0:v1, u0:u1]
        if mesh.parents[number] >= 0:
            seen &= bases[v0:v1, u0:u1] == mesh.parents[number]
        else:
            a, b, c = planes[number]
            along_u, along_v = a * np.arange(u0, u1) + c, b * np.arange(v0, v1)
            nearness = along_u.astype(np.float32) + along_v.astype(np.float32)[:, None]
            buffer = depth[v0:v1, u0:u1]
            seen &= nearness > buffer
            np.copyto(buffer, nearness, where=seen)
            np.copyto(bases[v0:v1, u0:u1], number, where=seen)
        np.copyto(window, number, where=seen)
    return ids


def _texture_gain(mesh: SolidMesh, corners: np.ndarray, visible: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """(H, W) float32 factor: the tiles of textured four-cornered faces, mapped in perspective; 1 elsewhere."""
    gain = np.ones(ids.shape, dtype=np.float32)
    square = np.array([[0, TILE], [TILE, TILE], [TILE, 0], [0, 0]], dtype=np.float32)
    extents = _extents(mesh, corners, ids.shape)
    for number, texture in enumerate(mesh.textures):
        u0, v0, u1, v1 = extents[number]
        if texture < 0 or not visible[number] or u1 - u0 < 4 or v1 - v0 < 4:
            continue
        quad = corners[mesh.faces[number, :4]].astype(np.float32)
        mapping = cv2.getPerspectiveTransform(square, quad - np.array([u0, v0], dtype=np.float32))
        tile = cv2.warpPerspective(
            bank()[texture], mapping, (int(u1 - u0), int(v1 - v0)), borderMode=cv2.BORDER_REPLICATE
        )
        np.copyto(gain[v0:v1, u0:u1], tile, where=ids[v0:v1, u0:u1] == number)
    return gain
