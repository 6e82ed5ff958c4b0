"""One file a format of disk image: what may be in its header, and how large the disk is that it describes.

Each has `check(window) -> int`: the virtual size in bytes, or a refusal. They believe nothing: every offset is compared with the file's end
before it is used, every count has a bound, and a feature that names another file, or that we do not know, is refused.
"""
