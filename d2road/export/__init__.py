"""Export that proves itself: one file with the model, its pre- and post-processing, and two images it must agree on.

Writing needs torch; reading and checking a file needs numpy and the engine that runs it.
"""
