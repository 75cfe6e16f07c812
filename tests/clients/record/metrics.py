#!/usr/bin/env python3
"""What a scrape of RocketMQ's own broker has, without its values: tests/golden/metrics.txt.

    curl -s http://127.0.0.1:5557/metrics | tests/clients/record/metrics.py > tests/golden/metrics.txt

The broker is one of tests/clients/real-broker/real-broker.sh with metricsExporterType=PROM, scraped behind ClientCheck's scenarios and mqadmin updateSubGroup.
A line for each metric: name, type, labels besides cluster, node_id and node_type (with ? if some samples lack it), and the bounds of a histogram.
"""
import collections
import re
import sys

types, labels, bounds = {}, collections.defaultdict(list), collections.defaultdict(list)
for line in sys.stdin.read().splitlines():
    if line.startswith("# TYPE "):
        _, _, name, kind = line.split(" ")
        types[name] = kind
        continue
    if not line or line.startswith("#"):
        continue
    name, text = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? \S+", line).groups()
    pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text or ""))
    if name not in types:
        name = re.sub(r"_(bucket|count|sum)$", "", name)
    bound = pairs.pop("le", None)
    if bound and bound not in bounds[name]:
        bounds[name].append(bound)
    labels[name].append(set(pairs) - {"cluster", "node_id", "node_type"})

for name in sorted(types):
    all_labels = set().union(*labels[name])
    shown = [label if all(label in has for has in labels[name]) else label + "?" for label in sorted(all_labels)]
    print(name, types[name], "{" + ",".join(shown) + "}", *bounds[name])
