"""Between protobuf messages and the model: the only place that knows both.

`reading` validates what comes in, `writing` builds what goes out, `status` builds error details.
"""
