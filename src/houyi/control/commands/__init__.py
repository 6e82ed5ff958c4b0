"""Commands, one file a noun: the only writers of desired state. Each checks everything first and then writes once, all or nothing."""
