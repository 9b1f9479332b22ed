"""Writes without a session of their own: the way through another node, again and again, and giving up.

They travel in the node's internal session, so whatever happens on the way, each is applied once (L12).
"""
