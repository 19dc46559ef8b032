"""The benchmarks: how fast the service is, beside what it is compared with, in the same run.

`python -m benchmarks --help`. They start their own servers, workers and APIs on free ports and in
folders of their own, through the tests' `processes`, and load only those.
"""
