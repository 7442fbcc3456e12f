"""Pin insertion: find a hole that is seen only roughly, and push a pin into it without jamming."""
