"""Model of seeing: from exact trajectories and a camera to the tracks that a tracker would give of them.

Data flow: camera_site (where the camera stands, what it can see) -> visibility (boxes in the image, who hides whom)
-> seeing_model (its parameters) -> seen_tracks (applies it); fit_seeing finds the parameters from tracks of a clip.
"""
