"""From a run's tables to datasets of the formats that tools for labelling and training read."""
