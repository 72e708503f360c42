"""A cluster on one machine, and the faults that it is put through: `./pricebook cluster`.

docs/cluster.md tells what stands, what is done to it, and what came of it.
"""
