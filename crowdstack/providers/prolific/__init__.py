"""Prolific: `api` has the verbs, `transport` carries them, `answers`, `draft` and `money` know the forms on the wire.

`provider` is the adapter, made of its parts: `audience` (who is shown a study), `payments`, `messages`, `watching` (webhooks), over `sight`
(what is seen, how often, and notes).
"""
