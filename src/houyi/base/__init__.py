"""What every room needs and no room owns: clock, ids, configuration, logs. Knows no VM."""
