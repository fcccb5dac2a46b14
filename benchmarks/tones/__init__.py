"""Tones on a real model, judged by another one: told, steered and both, and composed with what a program checks."""
