"""Files of images and VMs: cache, copy-on-write disks, NoCloud seeds. `files.py` says where everything is."""
