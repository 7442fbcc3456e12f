"""The cage around agents and policies, and the limits that hold in it."""
