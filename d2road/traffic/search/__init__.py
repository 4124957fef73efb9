"""Search in recorded tracks by a sentence: what it asks for, when it holds for which vehicle. NumPy and pandas.

query, sentence_words, sentence_parser   the sentence as conditions
track_scene, conditions, vehicle_pairs   truth of a condition for every vehicle and instant
track_search                             intervals in which all conditions hold, ranked; what ruled out the others
key_frames                               in which frames to look at a candidate
"""
