"""Devices of the machine for RUN: specifications (CDI: Container Device Interface), and what they give."""
