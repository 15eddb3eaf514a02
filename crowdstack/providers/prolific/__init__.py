"""Prolific: `api` has the verbs, `transport` carries them, `answers`, `draft` and `money` know the forms on the wire."""
