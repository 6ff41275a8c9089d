"""Bridges to other projects' tools; each module needs a package of its own, which the guide names.

They are imported one by one, by who has the package: ``tim_plugin`` itself imports none of them.
"""
