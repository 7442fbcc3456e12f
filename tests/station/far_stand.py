"""Carries a cell to a node that a test has started: `python -m far_stand FD PLACE`, with PLACE as JSON. Ray would have found it."""

import asyncio
import json
import socket
import sys

from autoenvbench.station.far_cell import carry, first_message
from autoenvbench.station.far_wire import Keys, Place

if __name__ == "__main__":
    seam = socket.socket(fileno=int(sys.argv[1]))
    told = json.loads(sys.argv[2])
    place = Place(**{**told, "keys": Keys(**told["keys"])})
    asyncio.run(carry("station:test", seam, first_message(seam), place))
