"""Crowds behind ports.Provider and ports.Crowd: one module each."""
