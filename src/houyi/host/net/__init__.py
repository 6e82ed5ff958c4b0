"""Networks as libvirt network XML, one file a kind, and what has to change when reservations do. Pure, except for the look whether a bridge exists."""
