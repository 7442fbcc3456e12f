"""Figures, reports and leaderboards: functions of the record."""
