"""What a stream sends, and who reads it: events found in its bytes, stalls, readers that have left.

State: in each `OpenStream` and `ClientKind`; the streams that wait to be read are in `EventReader`.
"""
