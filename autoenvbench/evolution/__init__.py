"""Evolution: the idea tree of a team, what raised it, and where its time went: functions of the record."""
