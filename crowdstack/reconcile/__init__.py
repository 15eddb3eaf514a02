"""The reconciler: observe, decide, act, again and again, until the run is as it is wanted. Safe to kill at any instant."""
