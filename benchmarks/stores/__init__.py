"""The clusters that are measured, all with one face: ``Store``."""

from benchmarks.stores.etcd import Etcd
from benchmarks.stores.ours import KvStore
from benchmarks.stores.port import Store
from benchmarks.stores.pysyncobj import PySyncObj
from benchmarks.stores.zookeeper import ZooKeeper

__all__ = ["Etcd", "KvStore", "PySyncObj", "Store", "ZooKeeper"]
