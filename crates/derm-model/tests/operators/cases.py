#!/usr/bin/env python3
"""Writes cases.jsonl: `python cases.py`, with the packages of models/zoo/requirements.txt and onnxruntime."""

import os

import cases_elementwise  # noqa: F401
import cases_layout  # noqa: F401
import cases_network  # noqa: F401
import cases_other  # noqa: F401
import cases_quantized  # noqa: F401
from builder import write

write(os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.jsonl"))
