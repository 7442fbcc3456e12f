"""The physical backend: stations made of arms, cameras and a safety monitor. Arrives with the first station driver."""
