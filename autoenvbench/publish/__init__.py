"""What people read: figures, reports and leaderboards, all functions of the record."""
