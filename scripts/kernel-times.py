#!/usr/bin/env python3
"""Sum of kernel times from `ncu --csv --metrics gpu__time_duration.sum` on stdin, longest first."""
import collections
import csv
import sys

MICROSECONDS = {"ns": 1e-3, "nsecond": 1e-3, "us": 1, "usecond": 1, "ms": 1e3, "msecond": 1e3}
total, count, header = collections.Counter(), collections.Counter(), None
for row in csv.reader(line for line in sys.stdin if line.startswith('"')):
    if row[0] == "ID":
        header = row
        continue
    entry = dict(zip(header, row))
    name = entry["Kernel Name"][:76]
    total[name] += float(entry["Metric Value"].replace(",", "")) * MICROSECONDS[entry["Metric Unit"]]
    count[name] += 1
for name, time in total.most_common(30):
    print(f"{time:10.1f} us {count[name]:5d} x {time / count[name]:9.1f}  {name}")
