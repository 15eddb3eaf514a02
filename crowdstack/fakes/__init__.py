"""Services of others, played on this machine: strict, with clocks that tests turn and money that can run out.

Users run them alone (`crowdstack fake ...`); nothing here knows the rest of crowdstack.
"""
