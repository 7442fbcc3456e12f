"""The twin: a simulated station behind the same CAN frames and camera frames as a physical one.

It knows arms, motors, cameras and what lies on the table. It cannot be asked where things are (`truth` is for tests that
audit what perception and verifier say), and nothing above the devices can tell it from hardware.
"""
