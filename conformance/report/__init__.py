"""What people see: one self-contained page of every run, and summaries for machines."""

from conformance.report.page import write_report
from conformance.report.summary import json_summary, markdown_summary

__all__ = ["json_summary", "markdown_summary", "write_report"]
