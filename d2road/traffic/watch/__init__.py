"""Alarms of a camera that is watched: what they say, their images, and how they reach whom they are for.

Data flow: alarm_report, alarm_sentence, alarm_heat (an alarm as a record, in words, as an image) -> outbox (written to
the disk first) -> delivery with webhook or mqtt_sink (from the disk to others, at least once) and alarm_table (CSV).
"""
