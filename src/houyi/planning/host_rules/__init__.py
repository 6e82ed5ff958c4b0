"""What each trait of a host means for VMs, and what to do about it: one file a subject, each with its RULES. `planning.host_report` joins them."""
