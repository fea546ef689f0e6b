"""Where the pixels of regions stand among the negatives: all that sPRO needs.

rank.py chooses between exact_ranks.py (negatives sorted by sorting.py: every number
exact) and bounded_ranks.py (negatives counted by cells, bins.py, which is faster and
needs little memory; cells are cut until every AU-sPRO is known to the tolerance). The
counting is done on the host by histogram.py, where ties.py watches for cells of one
score, or on accelerators by device_histogram.py. ranks.py is the result.
"""
