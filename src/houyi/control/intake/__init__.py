"""What hosts and users bring in: the only writers of observed state. Nothing that arrives is believed without a check of who says it and how old it is."""
