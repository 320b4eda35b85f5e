"""What the C library does with freed memory."""

import torch


def keep_freed_memory():
    """Let the C library keep freed blocks for the next array instead of giving them back.

    glibc returns blocks of some MiB to the system when they are freed, and the next array faults
    every page in again: with images that costs a third of the time. It stops doing so, up to the
    size of the largest such block it has seen freed. The block here is never touched, so it takes
    no memory. Elsewhere this does nothing.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)
