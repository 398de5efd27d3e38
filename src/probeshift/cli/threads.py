"""How libraries' threads wait, told to them before any is loaded: import this first.

Threads that wait by spinning take a busy machine's cores from the threads that work, and slow small operations down tens of times.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch: sleep instead
os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # numpy and scipy cannot: what they do here is small, torch does the rest
