"""Formulas as polynomials: what a chain of elementwise equations means."""
