"""A whole zip tie: thread its tail through its head, pull it tight, and cut the tail."""
