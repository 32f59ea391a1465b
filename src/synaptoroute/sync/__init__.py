"""How several routers come to hold the same routes."""

from __future__ import annotations

from synaptoroute.sync.base import BaseSyncManager, Contents, Replica, SyncHealth
from synaptoroute.sync.redis import RedisSyncManager

__all__ = ["BaseSyncManager", "Contents", "RedisSyncManager", "Replica", "SyncHealth"]
