"""Who serves what, where: the records that nodes keep in etcd, and how they are looked up."""
