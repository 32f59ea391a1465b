"""PostgreSQL as the store and the index use it: connections that give up in time, addresses without secrets, vectors.

Importing ``database`` or ``vectors`` needs the extra ``postgres``; see ``connect.opened``.
"""
