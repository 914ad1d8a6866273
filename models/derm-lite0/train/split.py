"""Writes split.csv: each lesion's part, as `data.part_of` decides it. `derm evaluate --split` reads it.

venv/bin/python split.py ../../../../shared/data
"""

import csv
import pathlib
import sys

import data

lesions = sorted({row["lesion_id"] for row in data.read_labels(sys.argv[1], "ham")})
with open(pathlib.Path(__file__).parent / "split.csv", "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["lesion_id", "part"])
    writer.writerows([lesion, data.part_of(lesion)] for lesion in lesions)
