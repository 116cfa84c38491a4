"""REST types ↔ protobuf, by hand: field for field, absence kept as absence.

Written out rather than derived: MessageToDict costs six times as much and writes 64-bit
integers as strings.
"""
